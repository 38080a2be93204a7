// Goal: bundles come out of PEM and of SPIFFE bundle documents alike; what is no authority is refused by name.
// Method: documents written here around fresh certificates, then broken one member at a time.

import FoundationEssentials
import Primitives
import SPIFFE
import TLS
import TestCertificates
import Testing
import Trust

private let root = TestAuthority("td")

private func trustDomain() throws -> TrustDomain { try TrustDomain("td") }

private func base64(_ der: [UInt8]) -> String { Data(der).base64EncodedString() }

private func key(_ der: [UInt8], use: String = "x509-svid") -> String {
  #"{"kty": "EC", "use": "\#(use)", "crv": "P-256", "x": "AA", "y": "AA", "x5c": ["\#(base64(der))"]}"#
}

private func parse(_ json: String) throws -> Bundle {
  try Bundle.parse(Array(json.utf8), trustDomain: trustDomain())
}

@Test func pemOfSeveralAuthorities() throws {
  let second = TestAuthority("td")
  let text = root.certificatePEM + second.certificatePEM + root.certificatePEM
  let bundle = try Bundle.parse(Array(text.utf8), trustDomain: trustDomain())
  #expect(bundle.anchors == [root.certificate, second.certificate])
  #expect(bundle.sequence == nil)
  #expect(bundle.notAfter == Timestamp(seconds: TestAuthority.epoch + 7 * 86_400))
  #expect(throws: TrustError.certificates(.noCertificates)) { try parse("") }
}

@Test func concatenatedDER() throws {
  let second = TestAuthority("td")
  let bundle = try Bundle.parse(
    concatenatedDER: root.certificate + second.certificate, trustDomain: trustDomain())
  #expect(bundle.anchors == [root.certificate, second.certificate])
}

@Test func aBundleDocument() throws {
  let bundle = try parse(
    """
     \n{"spiffe_sequence": 18446744073709551615, "spiffe_refresh_hint": 60, "other": [1], "keys": [
      \(key(root.certificate)),
      \(key([1, 2, 3], use: "jwt-svid")), \(key([1, 2, 3], use: "X509-SVID")),
      {"kty": "EC", "use": "x509-svid"}, {"kty": "EC", "use": "x509-svid", "x5c": []}, {"use": 7, "x5c": 8}
     ]}
    """)
  #expect(bundle.anchors == [root.certificate])
  #expect(bundle.sequence == .max)
  #expect(bundle.refreshHint == .seconds(60))
}

@Test func onlyTheFirstCertificateOfAKeyCounts() throws {
  let document =
    #"{"keys": [{"kty": "EC", "use": "x509-svid", "x5c": ["\#(base64(root.certificate))", "junk!"]}]}"#
  #expect(try parse(document).anchors == [root.certificate])
}

@Test func keysOfAnUnknownTypeArePassedOver() throws {
  let document =
    #"{"keys": [{"kty": "XX", "use": "x509-svid", "x5c": ["\#(base64(root.certificate))"]}]}"#
  #expect(try parse(document).anchors.isEmpty)
}

@Test func whichOfTwoBundlesIsNewer() throws {
  func bundle(_ sequence: UInt64?, at seconds: Int64?) throws -> Bundle {
    var bundle = try Bundle(trustDomain: trustDomain(), anchors: [root.certificate], sequence: sequence)
    bundle.obtainedAt = seconds.map { Timestamp(seconds: $0) }
    return bundle
  }
  // By the publisher's own count, where both have one.
  #expect(try bundle(2, at: 10).isNewer(than: bundle(1, at: 20)))
  #expect(try !bundle(1, at: 20).isNewer(than: bundle(2, at: 10)))
  #expect(try !bundle(1, at: 20).isNewer(than: bundle(1, at: 10)))
  // Else by when it was had; what has no time is of now.
  #expect(try bundle(nil, at: 20).isNewer(than: bundle(2, at: 10)))
  #expect(try !bundle(nil, at: 10).isNewer(than: bundle(2, at: 10)))
  #expect(try bundle(nil, at: nil).isNewer(than: bundle(2, at: 10)))
  #expect(try !bundle(nil, at: 10).isNewer(than: bundle(nil, at: nil)))
}

@Test func noKeysMeansNobody() throws {
  let bundle = try parse(#"{"keys": []}"#)
  #expect(bundle.anchors.isEmpty)
  #expect(bundle.notAfter == nil)
}

@Test(arguments: [
  "{", "{}", #"{"keys": {}}"#, #"{"keys": null}"#, #"{"keys": [1]}"#, #"{"keys": [], "spiffe_sequence": -1}"#,
  #"{"keys": [], "spiffe_sequence": "1"}"#, #"{"keys": []} x"#,
  #"{"keys": [{"kty": "EC", "use": "x509-svid", "x5c": "AA"}]}"#,
])
func brokenDocumentsAreRefused(_ json: String) throws {
  let error = #expect(throws: TrustError.self) { try parse(json) }
  guard case .documentUnreadable(let reason) = error else {
    Issue.record("unexpected error \(String(describing: error))")
    return
  }
  #expect(!reason.isEmpty)
}

@Test func brokenKeysAreRefused() throws {
  #expect(throws: TrustError.keyUnreadable(index: 0)) {
    try parse(#"{"keys": [{"kty": "EC", "use": "x509-svid", "x5c": ["a-_b"]}]}"#)
  }
  #expect(throws: TrustError.anchorUnreadable(index: 0)) { try parse(#"{"keys": [\#(key([1, 2, 3]))]}"#) }
}

@Test func onlyAuthoritiesOfTheTrustDomain() throws {
  let leaf = root.issue("spiffe://td/a").chain[0]
  #expect(throws: TrustError.anchorRefused(index: 1, subject: "CN=test", .notAuthority)) {
    try Bundle(trustDomain: trustDomain(), anchors: [root.certificate, leaf])
  }
  let other = TestAuthority("other")
  #expect(throws: TrustError.self) { try Bundle(trustDomain: trustDomain(), anchors: [other.certificate]) }
}
