// Hashes over what is stored, so that a flipped bit is found before it is served: SQLite checks the shape of
// its pages, not their content.

internal import Foundation
internal import Snapshots

/// Collects what a seal covers. Every part is preceded by its length, so that no two different contents give
/// the same bytes.
struct SealedContent {
  private(set) var bytes: [UInt8] = []

  mutating func append(_ part: [UInt8]) {
    append(Int64(part.count))
    bytes.append(contentsOf: part)
  }

  mutating func append(_ part: String) {
    append(Int64(part.utf8.count))
    bytes.append(contentsOf: part.utf8)
  }

  mutating func append(_ number: Int64) {
    for shift in stride(from: Int64(0), through: 56, by: 8) {
      bytes.append(UInt8(truncatingIfNeeded: number >> shift))
    }
  }

  mutating func append(_ type: TypeName) {
    append(type.group)
    append(type.kind)
  }

  /// The 16 bytes of the hash, as the database holds them.
  var seal: Data { Data(Version(hashing: bytes).bytes) }
}

/// Works out addresses of elements of one type: a hash over their bytes, and what is known of them beside these.
struct ElementAddressing {
  private let type: TypeName
  private var hasher = ContentHasher()
  /// What precedes the bytes of an element of `source`, but for their number.
  private var start: [UInt8] = []
  private var source: String?

  init(_ type: TypeName) { self.type = type }

  mutating func address(of encoded: UnsafeRawBufferPointer, source: String) -> Version {
    if source != self.source {
      var content = SealedContent()
      content.append(type)
      content.append(source)
      (start, self.source) = (content.bytes, source)
    }
    hasher.update(start)
    unsafe withUnsafeBytes(of: Int64(encoded.count).littleEndian) { unsafe hasher.update($0) }
    unsafe hasher.update(encoded)
    return hasher.finish()
  }

  mutating func address(of encoded: [UInt8], source: String) -> Version {
    unsafe encoded.withUnsafeBytes { unsafe address(of: $0, source: source) }
  }
}
