// The name of a trust domain: the authority of a SPIFFE ID. Names only; which keys it trusts is Trust's business.
// Source: SPIFFE-ID standard, section 2.1. Compared as exact bytes: no DNS or address rules apply.

/// A trust domain name such as `example.org`: 1 to 255 bytes of `a-z 0-9 . - _`.
public struct TrustDomain: Hashable, Comparable, Sendable, CustomStringConvertible {
  /// Most bytes of a name. SPIFFE-ID standard, section 2.3.
  public static let bytesMax = 255

  /// The bare name, without scheme.
  public let name: String

  /// Reads a bare name, without `spiffe://`.
  public init(_ name: String) throws(SPIFFEError) {
    let bytes = Array(name.utf8)
    guard !bytes.isEmpty else { throw .empty }
    try TrustDomain.check(bytes[...], offset: 0)
    self.name = name
  }

  /// Trusts its caller to have checked `bytes`.
  init(checked bytes: ArraySlice<UInt8>) {
    name = String(decoding: bytes, as: UTF8.self)
  }

  public var description: String { name }

  public static func < (left: TrustDomain, right: TrustDomain) -> Bool { left.name < right.name }

  /// `offset`: where `bytes` begin in the text that errors speak of.
  static func check(_ bytes: ArraySlice<UInt8>, offset: Int) throws(SPIFFEError) {
    guard bytes.count <= bytesMax else { throw .tooLong(bytes: bytes.count, limit: bytesMax) }
    for (index, byte) in bytes.enumerated() where !isAllowed(byte) {
      throw .trustDomainByte(byte, offset: offset + index)
    }
  }

  private static func isAllowed(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
      UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"):
      true
    default: false
    }
  }
}
