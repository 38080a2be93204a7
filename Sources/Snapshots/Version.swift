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
    self.init(digest: SHA256.hash(content))
  }

  /// Of a whole digest.
  fileprivate init(digest: [UInt8]) {
    precondition(digest.count >= Version.byteCount, "SHA-256 shorter than its definition")
    (high, low) = unsafe digest.withUnsafeBytes { unsafe Version.words($0) }
  }

  /// Nil unless these are the 16 bytes of a hash.
  public init?(_ bytes: UnsafeRawBufferPointer) {
    guard bytes.count == Version.byteCount else { return nil }
    (high, low) = unsafe Version.words(bytes)
  }

  /// The first 16 of `bytes`, of which there are so many.
  private static func words(_ bytes: UnsafeRawBufferPointer) -> (high: UInt64, low: UInt64) {
    (
      UInt64(bigEndian: unsafe bytes.loadUnaligned(as: UInt64.self)),
      UInt64(bigEndian: unsafe bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
    )
  }

  /// Reads the 32 digits; nil unless they are lower-case hexadecimal ones.
  init?(digits: UnsafeRawBufferPointer) {
    guard digits.count == 2 * Version.byteCount else { return nil }
    guard let high = unsafe Version.word(digits, from: 0), let low = unsafe Version.word(digits, from: 16)
    else {
      return nil
    }
    (self.high, self.low) = (high, low)
  }

  private static func word(_ digits: UnsafeRawBufferPointer, from start: Int) -> UInt64? {
    var word: UInt64 = 0
    for index in start..<start + 16 {
      let byte = unsafe digits[index]
      let value = byte &- (byte < UInt8(ascii: "a") ? UInt8(ascii: "0") : UInt8(ascii: "a") - 10)
      guard value < (byte < UInt8(ascii: "a") ? 10 : 16) else { return nil }
      word = word << 4 | UInt64(value)
    }
    return word
  }

  /// Reads the 32 digits; nil for any other text (a foreign server's version, say).
  public init?(parsing text: String) {
    var text = text
    guard let version = text.withUTF8({ unsafe Version(digits: UnsafeRawBufferPointer($0)) }) else {
      return nil
    }
    self = version
  }

  /// The 16 bytes of the hash.
  public var bytes: [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(Version.byteCount)
    append(to: &result)
    return result
  }

  func append(to target: inout [UInt8]) {
    Version.append(high.bigEndian, to: &target)
    Version.append(low.bigEndian, to: &target)
  }

  private static func append(_ word: UInt64, to target: inout [UInt8]) {
    unsafe withUnsafeBytes(of: word) { unsafe target.append(contentsOf: $0) }
  }

  public var description: String { Hex.encode(bytes) }

  public static func < (left: Version, right: Version) -> Bool {
    (left.high, left.low) < (right.high, right.low)
  }
}

/// The version of content that is at hand in several pieces. One hasher serves for many.
public struct ContentHasher {
  private var stream = SHA256Stream()
  private var digest = [UInt8](repeating: 0, count: SHA256.byteCount)

  public init() {}

  public mutating func update(_ bytes: [UInt8]) { stream.update(bytes) }

  public mutating func update(_ bytes: UnsafeRawBufferPointer) { unsafe stream.update(bytes) }

  /// The version of everything since the start or the last `finish`.
  public mutating func finish() -> Version {
    stream.finish(into: &digest)
    return Version(digest: digest)
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
    unsafe withUnsafeBytes(of: UInt64(count).littleEndian) { unsafe bytes.append(contentsOf: $0) }
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
