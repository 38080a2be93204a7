// Bytes among others, compared in place: every object of a start comes by here.

internal import Glibc

/// Some bytes among others.
@safe
struct ByteRun {
  private let bytes: UnsafeRawBufferPointer
  private let range: Range<Int>

  init(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) {
    precondition(range.lowerBound >= 0 && range.upperBound <= bytes.count, "a range outside its bytes")
    unsafe self.bytes = unsafe bytes
    self.range = range
  }

  var count: Int { range.count }

  func isEqual(to other: ByteRun) -> Bool { count == other.count && begins(with: other) }

  func isEqual(to other: [UInt8]) -> Bool { count == other.count && begins(with: other) }

  func isEqual(to text: String) -> Bool {
    guard count == text.utf8.count else { return false }
    return unsafe text.utf8.withContiguousStorageIfAvailable {
      unsafe begins(with: ByteRun(UnsafeRawBufferPointer($0), 0..<$0.count))
    } ?? false
  }

  func begins(with other: [UInt8]) -> Bool {
    unsafe other.withUnsafeBytes { unsafe begins(with: ByteRun($0, 0..<$0.count)) }
  }

  private func begins(with other: ByteRun) -> Bool {
    guard other.count <= count else { return false }
    guard other.count > 0, let ours = unsafe bytes.baseAddress, let theirs = unsafe other.bytes.baseAddress
    else {
      return other.count == 0
    }
    return unsafe memcmp(ours + range.lowerBound, theirs + other.range.lowerBound, other.count) == 0
  }

  func firstIndex(of byte: UInt8) -> Int? { unsafe bytes[range].firstIndex(of: byte) }
}
