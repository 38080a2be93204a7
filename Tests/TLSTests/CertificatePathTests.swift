// Goal: what only path validation itself decides, below the rules that Trust tests through it.
// Method: direct calls with fresh certificates.

import Primitives
import TLS
import TestCertificates
import Testing

private let now = Timestamp(seconds: TestAuthority.epoch)

@Test func thePathGoesFromLeafToAnchor() throws {
  let root = TestAuthority("td")
  let issuing = root.intermediate()
  let chain = issuing.issue("spiffe://td/a").chain
  #expect(
    try CertificatePath.validate(chain: chain, anchors: [root.certificate], at: now)
      == chain + [root.certificate])
  // The first anchor met ends the path.
  #expect(
    try CertificatePath.validate(chain: chain, anchors: [root.certificate, issuing.certificate], at: now)
      == chain)
}

@Test func aLeafThatIsItselfAnAnchorHasNoPath() {
  let root = TestAuthority("td")
  let leaf = root.issue("spiffe://td/a").chain
  for anchors in [leaf, [root.certificate], []] {
    let failure = #expect(throws: PathFailure.self) {
      try CertificatePath.validate(
        chain: anchors == leaf ? leaf : [root.certificate], anchors: anchors, at: now)
    }
    #expect(failure?.kind == .untrusted)
  }
}

@Test func unreadableMaterialIsAFailure() {
  let cases: [([[UInt8]], [[UInt8]])] = [([], []), ([[1]], []), ([TestAuthority("td").certificate], [[1]])]
  for (chain, anchors) in cases {
    let failure = #expect(throws: PathFailure.self) {
      try CertificatePath.validate(chain: chain, anchors: anchors, at: now)
    }
    #expect(failure?.kind == .other)
  }
}
