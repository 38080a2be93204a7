// Bytes among others, compared in place.

/// Some bytes among others. Compared eight at a time: every object of a start comes by here.
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
    let (ours, theirs) = (range.lowerBound, other.range.lowerBound)
    var at = 0
    while at + 8 <= other.count {
      let left = unsafe bytes.loadUnaligned(fromByteOffset: ours + at, as: UInt64.self)
      let right = unsafe other.bytes.loadUnaligned(fromByteOffset: theirs + at, as: UInt64.self)
      if left != right { return false }
      at += 8
    }
    while at < other.count {
      if unsafe bytes[ours + at] != other.bytes[theirs + at] { return false }
      at += 1
    }
    return true
  }

  func firstIndex(of byte: UInt8) -> Int? {
    var at = range.lowerBound
    while at < range.upperBound {
      if unsafe bytes[at] == byte { return at }
      at += 1
    }
    return nil
  }
}
