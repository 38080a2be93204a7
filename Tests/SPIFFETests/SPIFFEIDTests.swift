// Goal: exactly the texts of the SPIFFE-ID standard parse, and every refusal has its own name.
// Method: tables, and every byte 0...255 in trust domain and path.

import Primitives
import SPIFFE
import Testing

private let allowedInTrustDomain = Set("abcdefghijklmnopqrstuvwxyz0123456789.-_".utf8)
private let allowedInPath =
  allowedInTrustDomain.union("ABCDEFGHIJKLMNOPQRSTUVWXYZ".utf8)

@Test(arguments: [
  ("spiffe://example.org", "example.org", ""),
  ("spiffe://example.org/a", "example.org", "/a"),
  ("spiffe://example.org/ns/foo/sa/bar", "example.org", "/ns/foo/sa/bar"),
  ("SPIFFE://example.org/A", "example.org", "/A"),
  ("sPiFfE://td/x", "td", "/x"),
  ("spiffe://1.2.3.4/x", "1.2.3.4", "/x"),
  ("spiffe://td/...", "td", "/..."),
  ("spiffe://td/.a/a./..b", "td", "/.a/a./..b"),
  ("spiffe://_/-", "_", "/-"),
])
func parses(_ text: String, _ trustDomain: String, _ path: String) throws {
  let id = try SPIFFEID(parsing: text)
  #expect(id.trustDomain.name == trustDomain)
  #expect(id.path == path)
  #expect(id.description == "spiffe://" + trustDomain + path)
  #expect(id.namesWorkload == !path.isEmpty)
}

@Test(arguments: [
  ("", SPIFFEError.empty),
  ("spiffe", .wrongScheme),
  ("spiffe:/", .wrongScheme),
  ("spiffe:/td/a", .wrongScheme),
  ("http://td/a", .wrongScheme),
  (" spiffe://td/a", .wrongScheme),
  ("spiffe://", .missingTrustDomain),
  ("spiffe:///path", .missingTrustDomain),
  ("spiffe://td/", .trailingSlash),
  ("spiffe://td/a/", .trailingSlash),
  ("spiffe://td//a", .emptySegment(offset: 12)),
  ("spiffe://td/a//b", .emptySegment(offset: 14)),
  ("spiffe://td/.", .dotSegment(offset: 12)),
  ("spiffe://td/../a", .dotSegment(offset: 12)),
  ("spiffe://td/a/./b", .dotSegment(offset: 14)),
  ("spiffe://td:80/a", .trustDomainByte(UInt8(ascii: ":"), offset: 11)),
  ("spiffe://me@td/a", .trustDomainByte(UInt8(ascii: "@"), offset: 11)),
  ("spiffe://TD/a", .trustDomainByte(UInt8(ascii: "T"), offset: 9)),
  ("spiffe://td?", .trustDomainByte(UInt8(ascii: "?"), offset: 11)),
  ("spiffe://td#", .trustDomainByte(UInt8(ascii: "#"), offset: 11)),
  ("spiffe://[::1]/a", .trustDomainByte(UInt8(ascii: "["), offset: 9)),
  ("spiffe://td/a?b", .pathByte(UInt8(ascii: "?"), offset: 13)),
  ("spiffe://td/a#", .pathByte(UInt8(ascii: "#"), offset: 13)),
  ("spiffe://td/%61", .pathByte(UInt8(ascii: "%"), offset: 12)),
  ("spiffe://td/a*", .pathByte(UInt8(ascii: "*"), offset: 13)),
  ("spiffe://td/\u{0}", .pathByte(0, offset: 12)),
  ("spiffe://td/é", .pathByte(0xC3, offset: 12)),
])
func refuses(_ text: String, _ error: SPIFFEError) {
  #expect(throws: error) { try SPIFFEID(parsing: text) }
}

@Test(arguments: UInt8.min...UInt8.max)
func everyByteInTheTrustDomain(_ byte: UInt8) {
  // Bytes above 127 become U+FFFD, whose own bytes must be refused as well.
  let name = String(decoding: [UInt8(ascii: "a"), byte, UInt8(ascii: "b")], as: UTF8.self)
  #expect(((try? TrustDomain(name)) != nil) == allowedInTrustDomain.contains(byte))
  let id = try? SPIFFEID(parsing: "spiffe://" + name + "/x")
  if byte == UInt8(ascii: "/") {
    #expect(id?.path == "/b/x")
  } else {
    #expect((id != nil) == allowedInTrustDomain.contains(byte))
  }
}

@Test(arguments: UInt8.min...UInt8.max)
func everyByteInThePath(_ byte: UInt8) {
  let text = String(decoding: Array("spiffe://td/a".utf8) + [byte, UInt8(ascii: "b")], as: UTF8.self)
  let parsed = try? SPIFFEID(parsing: text)
  #expect((parsed != nil) == (allowedInPath.contains(byte) || byte == UInt8(ascii: "/")))
  if let parsed { #expect(parsed.description == text) }
}

@Test func lengthsAtTheirLimits() throws {
  let longest = String(repeating: "a", count: 255)
  #expect(try TrustDomain(longest).name == longest)
  #expect(throws: SPIFFEError.tooLong(bytes: 256, limit: 255)) { try TrustDomain(longest + "a") }
  #expect(throws: SPIFFEError.tooLong(bytes: 256, limit: 255)) {
    try SPIFFEID(parsing: "spiffe://\(longest)a/x")
  }
  let full = "spiffe://td/" + String(repeating: "p", count: 2048 - 12)
  #expect(try SPIFFEID(parsing: full).description == full)
  #expect(throws: SPIFFEError.tooLong(bytes: 2049, limit: 2048)) { try SPIFFEID(parsing: full + "p") }
}

@Test func bareTrustDomainsOnly() {
  #expect(throws: SPIFFEError.empty) { try TrustDomain("") }
  #expect(throws: SPIFFEError.self) { try TrustDomain("spiffe://td") }
  #expect(throws: SPIFFEError.self) { try TrustDomain("td/") }
}

@Test func errorsExplainThemselves() {
  let error = SPIFFEError.trustDomainByte(UInt8(ascii: "T"), offset: 9)
  #expect(
    error.description
      == "'T' at offset 9 is not allowed in a trust domain. Trust domains are written in lower case. "
      + "Use only a-z, 0-9, '.', '-' and '_'.")
  #expect(SPIFFEError.pathByte(10, offset: 3).what.contains("byte 10"))
}
