// Every way a text fails to be a SPIFFE ID, trust domain or pattern, each with its place.
// Source: SPIFFE-ID standard, sections 2.1 to 2.3.

public import Primitives

/// What is wrong with a trust domain, SPIFFE ID or pattern. Offsets count bytes from the start of the text.
public enum SPIFFEError: Explained, Equatable {
  case empty
  /// More bytes than `limit` allows.
  case tooLong(bytes: Int, limit: Int)
  /// Does not begin with `spiffe://`.
  case wrongScheme
  case missingTrustDomain
  case trustDomainByte(UInt8, offset: Int)
  case pathByte(UInt8, offset: Int)
  /// `//` within the path.
  case emptySegment(offset: Int)
  /// A path segment `.` or `..`.
  case dotSegment(offset: Int)
  case trailingSlash
  /// `*` where a pattern may not have one.
  case misplacedWildcard(offset: Int)
  /// A pattern without `/*` that names a trust domain: no workload has such an ID.
  case patternNamesNoWorkload(trustDomain: String)

  public var what: String {
    switch self {
    case .empty: "The text is empty"
    case .tooLong(let bytes, let limit): "The text has \(bytes) bytes, more than \(limit)"
    case .wrongScheme: "The text does not begin with spiffe://"
    case .missingTrustDomain: "There is no trust domain after spiffe://"
    case .trustDomainByte(let byte, let offset):
      "\(SPIFFEError.name(byte)) at offset \(offset) is not allowed in a trust domain"
    case .pathByte(let byte, let offset):
      "\(SPIFFEError.name(byte)) at offset \(offset) is not allowed in the path"
    case .emptySegment(let offset): "The path has an empty segment at offset \(offset)"
    case .dotSegment(let offset): "The path has a segment . or .. at offset \(offset)"
    case .trailingSlash: "The path ends with a slash"
    case .misplacedWildcard(let offset): "There is a * at offset \(offset)"
    case .patternNamesNoWorkload(let trustDomain):
      "The pattern spiffe://\(trustDomain) names a trust domain, which no workload has as its ID"
    }
  }

  public var why: String {
    switch self {
    case .trustDomainByte(let byte, _) where (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte):
      "Trust domains are written in lower case"
    case .trustDomainByte(let byte, _) where byte == UInt8(ascii: ":") || byte == UInt8(ascii: "@"):
      "A SPIFFE ID has neither port nor user"
    case .pathByte(let byte, _) where byte == UInt8(ascii: "?") || byte == UInt8(ascii: "#"):
      "A SPIFFE ID has neither query nor fragment"
    case .pathByte(let byte, _), .trustDomainByte(let byte, _):
      byte == UInt8(ascii: "%") ? "A SPIFFE ID is never percent-encoded" : ""
    default: ""
    }
  }

  public var howToFix: String {
    switch self {
    case .empty, .tooLong, .wrongScheme, .missingTrustDomain:
      "Write it as spiffe://trust-domain/path"
    case .trustDomainByte: "Use only a-z, 0-9, '.', '-' and '_'"
    case .pathByte: "Use only A-Z, a-z, 0-9, '.', '-' and '_' between slashes"
    case .emptySegment, .dotSegment: "Remove the segment"
    case .trailingSlash: "Remove the last slash"
    case .misplacedWildcard: "Write an exact ID, or end the pattern with /*"
    case .patternNamesNoWorkload(let trustDomain): "Write spiffe://\(trustDomain)/* for all of its workloads"
    }
  }

  public var blame: Blame { .operator }

  /// Printable ASCII as itself, anything else as a number: the text came from outside.
  private static func name(_ byte: UInt8) -> String {
    (0x21...0x7E).contains(byte) ? "'\(Character(UnicodeScalar(byte)))'" : "byte \(byte)"
  }
}
