// Goal: what only path validation itself decides, below the rules that Trust tests through it.
// Method: direct calls with fresh certificates.

import Primitives
import TLS
import TestCertificates
import Testing

private func path(_ chain: [[UInt8]], _ anchors: [[UInt8]]) throws -> [[UInt8]] {
  try CertificatePath.validate(
    chain: chain.map { try Certificate(der: $0) }, anchors: anchors.map { try Certificate(der: $0) },
    at: Timestamp(seconds: TestAuthority.epoch)
  ).map(\.der)
}

@Test func thePathGoesFromLeafToAnchor() throws {
  let root = TestAuthority("td")
  let issuing = root.intermediate()
  let chain = issuing.issue("spiffe://td/a").chain
  #expect(try path(chain, [root.certificate]) == chain + [root.certificate])
  // The first anchor met ends the path.
  #expect(try path(chain, [root.certificate, issuing.certificate]) == chain)
}

@Test func aLeafThatIsItselfAnAnchorHasNoPath() {
  let root = TestAuthority("td")
  let leaf = root.issue("spiffe://td/a").chain
  for (chain, anchors) in [(leaf, leaf), ([root.certificate], [root.certificate]), (leaf, [])] {
    let failure = #expect(throws: PathFailure.self) { try path(chain, anchors) }
    #expect(failure?.kind == .untrusted)
  }
}

@Test func anEmptyChainHasNoPath() {
  let failure = #expect(throws: PathFailure.self) { try path([], [TestAuthority("td").certificate]) }
  #expect(failure?.kind == .other)
}
