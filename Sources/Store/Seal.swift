// Hashes over what is stored, so that a flipped bit is found before it is served: SQLite checks the shape of
// its pages, not their content.

internal import Foundation
internal import Snapshots

/// Collects what a seal covers. Every part is preceded by its length, so that no two different contents give
/// the same bytes.
struct SealedContent {
  private var bytes: [UInt8] = []

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

extension SealedContent {
  /// The address of an element: its bytes, and what is known of it beside them.
  static func address(of encoded: [UInt8], type: TypeName, source: String) -> Data {
    var content = SealedContent()
    content.bytes.reserveCapacity(
      4 * 8 + type.group.utf8.count + type.kind.utf8.count + source.utf8.count + encoded.count)
    content.append(type)
    content.append(source)
    content.append(encoded)
    return content.seal
  }
}
