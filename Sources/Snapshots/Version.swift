// Content hashes: what makes equal content report equal versions on every tier and replica.

internal import Digest
internal import Primitives

/// The first 16 bytes of a SHA-256 over content; written as 32 lower-case hexadecimal digits.
public struct Version: Hashable, Comparable, Sendable, CustomStringConvertible {
  private let high: UInt64
  private let low: UInt64

  /// Bytes of the hash that are kept. Reason: collisions need 2^64 tries, and every row carries one.
  public static let byteCount = 16

  /// The version of this content.
  public init(hashing content: [UInt8]) {
    let digest = SHA256.hash(content)
    precondition(digest.count >= Version.byteCount, "SHA-256 shorter than its definition")
    self.init(bytes: digest.prefix(Version.byteCount))
  }

  /// Reads the 32 digits; nil for any other text (a foreign server's version, say).
  public init?(parsing text: String) {
    guard text.utf8.count == 2 * Version.byteCount, !text.utf8.contains(where: Version.isUpper),
      let bytes = Hex.decode(text)
    else { return nil }
    self.init(bytes: bytes[...])
  }

  private init(bytes: ArraySlice<UInt8>) {
    var words: (UInt64, UInt64) = (0, 0)
    for (index, byte) in bytes.enumerated() {
      if index < 8 { words.0 = words.0 << 8 | UInt64(byte) } else { words.1 = words.1 << 8 | UInt64(byte) }
    }
    (high, low) = words
  }

  /// The 16 bytes of the hash.
  public var bytes: [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(Version.byteCount)
    append(to: &result)
    return result
  }

  func append(to target: inout [UInt8]) {
    for word in [high, low] {
      for shift in stride(from: 56, through: 0, by: -8) {
        target.append(UInt8(truncatingIfNeeded: word >> UInt64(shift)))
      }
    }
  }

  public var description: String { Hex.encode(bytes) }

  public static func < (left: Version, right: Version) -> Bool {
    (left.high, left.low) < (right.high, right.low)
  }

  private static func isUpper(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte)
  }
}

/// Collects content for a hash so that no two different contents give the same bytes: every part is
/// preceded by its length.
struct HashedContent {
  private(set) var bytes: [UInt8] = []

  mutating func append(_ part: [UInt8]) {
    append(count: part.count)
    bytes.append(contentsOf: part)
  }

  mutating func append(_ part: String) {
    append(count: part.utf8.count)
    bytes.append(contentsOf: part.utf8)
  }

  mutating func append(_ version: Version) { version.append(to: &bytes) }

  mutating func append(count: Int) {
    var rest = UInt64(count)
    for _ in 0..<8 {
      bytes.append(UInt8(truncatingIfNeeded: rest))
      rest >>= 8
    }
  }

  mutating func append(_ pairs: [(key: String, value: String)]) {
    append(count: pairs.count)
    for pair in pairs {
      append(pair.key)
      append(pair.value)
    }
  }

  var version: Version { Version(hashing: bytes) }
}
