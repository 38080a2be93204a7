// A SPIFFE ID: the name of a workload or of a trust domain, as a checked value.
// Source: SPIFFE-ID standard, section 2. Never normalises: what is not canonical is refused, except the
// scheme, which parses in any case and is kept in lower case.

/// `spiffe://trust-domain/path`. Two values are equal exactly when their canonical texts are.
public struct SPIFFEID: Hashable, Comparable, Sendable, CustomStringConvertible {
  /// Most bytes of an ID as text. SPIFFE-ID standard, section 2.3.
  public static let bytesMax = 2048

  public let trustDomain: TrustDomain
  /// Empty for the ID of the trust domain itself, else `/segment/segment`.
  public let path: String

  private static let scheme = Array("spiffe://".utf8)

  public init(parsing text: String) throws(SPIFFEError) {
    let bytes = Array(text.utf8)
    guard !bytes.isEmpty else { throw .empty }
    guard bytes.count <= SPIFFEID.bytesMax else {
      throw .tooLong(bytes: bytes.count, limit: SPIFFEID.bytesMax)
    }
    let start = SPIFFEID.scheme.count
    guard bytes.count >= start,
      zip(bytes, SPIFFEID.scheme).allSatisfy({ SPIFFEID.lowercased($0) == $1 })
    else { throw .wrongScheme }
    let slash = bytes[start...].firstIndex(of: UInt8(ascii: "/")) ?? bytes.endIndex
    guard slash > start else { throw .missingTrustDomain }
    try TrustDomain.check(bytes[start..<slash], offset: start)
    try SPIFFEID.checkPath(bytes[slash...])
    trustDomain = TrustDomain(checked: bytes[start..<slash])
    path = String(decoding: bytes[slash...], as: UTF8.self)
  }

  /// The ID of a trust domain itself, which has no path.
  public init(_ trustDomain: TrustDomain) {
    self.trustDomain = trustDomain
    path = ""
  }

  /// Workloads have a path; the bare trust domain is an ID of signing certificates only.
  public var namesWorkload: Bool { !path.isEmpty }

  public var description: String { "spiffe://" + trustDomain.name + path }

  public static func < (left: SPIFFEID, right: SPIFFEID) -> Bool {
    (left.trustDomain, left.path) < (right.trustDomain, right.path)
  }

  /// `bytes` is empty or begins with a slash; its indices are offsets in the whole text.
  private static func checkPath(_ bytes: ArraySlice<UInt8>) throws(SPIFFEError) {
    guard !bytes.isEmpty else { return }
    if bytes.last == UInt8(ascii: "/") { throw .trailingSlash }
    var segment = bytes.startIndex + 1
    for index in segment...bytes.endIndex {
      guard index == bytes.endIndex || bytes[index] == UInt8(ascii: "/") else {
        guard isAllowedInPath(bytes[index]) else { throw .pathByte(bytes[index], offset: index) }
        continue
      }
      guard index > segment else { throw .emptySegment(offset: segment) }
      if index - segment <= 2, bytes[segment..<index].allSatisfy({ $0 == UInt8(ascii: ".") }) {
        throw .dotSegment(offset: segment)
      }
      segment = index + 1
    }
  }

  private static func isAllowedInPath(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"):
      true
    default: false
    }
  }

  private static func lowercased(_ byte: UInt8) -> UInt8 {
    (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) ? byte | 0x20 : byte
  }
}
