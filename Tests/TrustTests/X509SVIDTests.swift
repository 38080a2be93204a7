// Goal: an SVID is taken only with its own key, and no way of printing it shows the key.
// Method: right and wrong pairs; every standard way of turning a value into text.

import Primitives
import SPIFFE
import TLS
import TestCertificates
import Testing
import Trust

private let root = TestAuthority("td")

@Test func fromPEMAndFromDER() throws {
  let identity = root.intermediate().issue("spiffe://td/a")
  let fromPEM = try X509SVID(
    pemChain: Array(identity.chainPEM.utf8), pemKey: SecretBytes(Array(identity.keyPEM.utf8)))
  let fromDER = try X509SVID(derChain: identity.chain.flatMap(\.self), derKey: identity.secret)
  for svid in [fromPEM, fromDER] {
    #expect(svid.id.description == "spiffe://td/a")
    #expect(svid.chain == identity.chain)
    #expect(try svid.key.matches(Certificate(der: identity.chain[0])))
    #expect(svid.notAfter == Timestamp(seconds: TestAuthority.epoch + 86_400))
  }
}

@Test func wrongPairsAndWrongCertificatesAreNamed() throws {
  let one = root.issue("spiffe://td/a")
  let two = root.issue("spiffe://td/a")
  #expect(throws: TrustError.keyDoesNotMatch) {
    try X509SVID(pemChain: Array(one.chainPEM.utf8), pemKey: SecretBytes(Array(two.keyPEM.utf8)))
  }
  let nameless = root.issue(CertificatePlan())
  #expect(throws: TrustError.notAnSVID(.noURI)) {
    try X509SVID(pemChain: Array(nameless.chainPEM.utf8), pemKey: SecretBytes(Array(nameless.keyPEM.utf8)))
  }
  #expect(throws: TrustError.certificates(.noCertificates)) {
    try X509SVID(pemChain: Array(one.keyPEM.utf8), pemKey: SecretBytes(Array(one.keyPEM.utf8)))
  }
  #expect(throws: TrustError.self) {
    try X509SVID(pemChain: Array(one.chainPEM.utf8), pemKey: SecretBytes(Array(one.chainPEM.utf8)))
  }
}

@Test func keysNeverShow() throws {
  let identity = root.issue("spiffe://td/a")
  let svid = try X509SVID(derChain: identity.chain[0], derKey: identity.secret)
  let trustDomain = try TrustDomain("td")
  let credentials = Credentials(
    svid: svid, bundles: [trustDomain: try Bundle(trustDomain: trustDomain, anchors: [root.certificate])],
    generation: 1)
  var dumped = ""
  dump(credentials, to: &dumped)
  dump(svid, to: &dumped)
  let texts = [
    "\(svid)", String(reflecting: svid), "\(credentials)", String(reflecting: credentials), dumped,
  ]
  // Any run of the key's bytes as `print` would write them.
  let run = identity.key.suffix(6).map(String.init).joined(separator: ", ")
  for text in texts { #expect(!text.contains(run)) }
  #expect(Mirror(reflecting: svid).children.allSatisfy { $0.label != "key" })
  #expect(svid.description == "spiffe://td/a until 2026-11-24T12:00:00Z")
}

@Test func ownSVIDsAreJudgedLikeThoseOfPeers() throws {
  let trustDomain = try TrustDomain("td")
  let identity = root.issue("spiffe://td/a")
  let svid = try X509SVID(derChain: identity.chain[0], derKey: identity.secret)
  func credentials(_ anchor: [UInt8]) throws -> Credentials {
    let bundle = try Bundle(trustDomain: trustDomain, anchors: [anchor])
    return Credentials(svid: svid, bundles: [trustDomain: bundle], generation: 1)
  }
  let now = Timestamp(seconds: TestAuthority.epoch)
  #expect(try credentials(root.certificate).verifyOwnSVID(at: now).id == svid.id)
  #expect(throws: VerificationFailure.self) {
    try credentials(TestAuthority("td").certificate).verifyOwnSVID(at: now)
  }
}
