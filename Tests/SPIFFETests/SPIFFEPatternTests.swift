// Goal: a pattern matches exactly the IDs that its documentation says, and overlap is found both ways.
// Method: tables; overlap is checked against matching on a small universe of IDs.

import SPIFFE
import Testing

@Test(arguments: [
  ("spiffe://td/a", "spiffe://td/a", true),
  ("spiffe://td/a", "spiffe://td/a/b", false),
  ("spiffe://td/a", "spiffe://other/a", false),
  ("spiffe://td/a", "spiffe://td/A", false),
  ("spiffe://td/a/*", "spiffe://td/a/b", true),
  ("spiffe://td/a/*", "spiffe://td/a/b/c", true),
  ("spiffe://td/a/*", "spiffe://td/a", false),
  ("spiffe://td/a/*", "spiffe://td/ab", false),
  ("spiffe://td/a/*", "spiffe://td/ab/c", false),
  ("spiffe://td/a/*", "spiffe://tda/a/b", false),
  ("spiffe://td/*", "spiffe://td/a", true),
  ("spiffe://td/*", "spiffe://td/a/b", true),
  ("spiffe://td/*", "spiffe://td", false),
  ("spiffe://td/*", "spiffe://td.x/a", false),
])
func matches(_ pattern: String, _ id: String, _ expected: Bool) throws {
  #expect(try SPIFFEPattern(parsing: pattern).matches(SPIFFEID(parsing: id)) == expected)
}

@Test(arguments: [
  ("*", SPIFFEError.misplacedWildcard(offset: 0)),
  ("spiffe://*", .missingTrustDomain),
  ("spiffe://*/*", .misplacedWildcard(offset: 9)),
  ("spiffe://td/*/a", .misplacedWildcard(offset: 12)),
  ("spiffe://td/a*", .misplacedWildcard(offset: 13)),
  ("spiffe://td/**", .misplacedWildcard(offset: 12)),
  ("spiffe://td/a/*/*", .misplacedWildcard(offset: 14)),
  ("spiffe:///*", .missingTrustDomain),
  ("spiffe://td", .patternNamesNoWorkload(trustDomain: "td")),
  ("spiffe://td//*", .trailingSlash),
  ("/*", .empty),
  ("", .empty),
])
func refusesPattern(_ text: String, _ error: SPIFFEError) {
  #expect(throws: error) { try SPIFFEPattern(parsing: text) }
}

@Test func overlapMeansSomeIDMatchesBoth() throws {
  let names = ["a", "ab", "a/b", "a/b/c", "ab/c", "b"]
  let universe = try ["td", "te"].flatMap { domain in
    try names.flatMap { name in
      try ["", "/z"].map { try SPIFFEID(parsing: "spiffe://\(domain)/\(name)\($0)") }
    }
  }
  let patterns = try ["td", "te"].flatMap { domain in
    try
      (names.flatMap { ["spiffe://\(domain)/\($0)", "spiffe://\(domain)/\($0)/*"] }
      + ["spiffe://\(domain)/*"]).map { try SPIFFEPattern(parsing: $0) }
  }
  for left in patterns {
    for right in patterns {
      let shared = universe.contains { left.matches($0) && right.matches($0) }
      #expect(left.overlaps(right) == shared, "\(left) \(right)")
      #expect(left.overlaps(right) == right.overlaps(left))
    }
  }
}

@Test func describesItself() throws {
  for text in ["spiffe://td/a", "spiffe://td/a/*", "spiffe://td/*"] {
    #expect(try SPIFFEPattern(parsing: text).description == text)
  }
  #expect(try SPIFFEPattern(parsing: "SPIFFE://td/a").description == "spiffe://td/a")
  let id = try SPIFFEID(parsing: "spiffe://td/a")
  #expect(SPIFFEPattern(exactly: id).isExact)
  #expect(SPIFFEPattern(exactly: id).trustDomain == id.trustDomain)
}
