// Goal: every rule of X.509-SVID validation holds in both roles, and each breach has its own name.
// Method: one good certificate, then one change at a time; certificates are made here, time is a parameter.

import Primitives
import SPIFFE
import TLS
import TestCertificates
import Testing
import Trust

private let now = Timestamp(seconds: TestAuthority.epoch)
private let roles = [TLSRole.server, .client]

/// A root, a bundle with it, and verification against it.
private struct Domain {
  let trustDomain: TrustDomain
  let root: TestAuthority

  init(_ name: String = "td", root: CertificatePlan? = nil) throws {
    trustDomain = try TrustDomain(name)
    self.root = TestAuthority(name, plan: root)
  }

  func bundles(_ anchors: [[UInt8]]? = nil) throws -> [TrustDomain: Bundle] {
    [trustDomain: try Bundle(trustDomain: trustDomain, anchors: anchors ?? [root.certificate])]
  }

  func verify(
    _ chain: [[UInt8]], anchors: [[UInt8]]? = nil, at instant: Timestamp = now, role: TLSRole = .client
  )
    throws -> VerifiedPeer
  {
    try verifyPeer(chain: chain, bundles: bundles(anchors), at: instant, role: role)
  }

  /// Verifies in both roles and returns the one failure of both.
  func failure(_ chain: [[UInt8]], anchors: [[UInt8]]? = nil, at instant: Timestamp = now) throws
    -> VerificationFailure?
  {
    let failures = try roles.map { role in
      do {
        _ = try verify(chain, anchors: anchors, at: instant, role: role)
        return VerificationFailure?.none
      } catch let failure as VerificationFailure {
        return failure
      }
    }
    #expect(failures[0] == failures[1])
    return failures[0]
  }

  func failure(_ change: (inout CertificatePlan) -> Void) throws -> VerificationFailure? {
    var plan = CertificatePlan.workload("spiffe://td/a")
    change(&plan)
    return try failure(root.issue(plan).chain)
  }
}

private func kind(_ failure: VerificationFailure?) -> PathFailure.Kind? {
  if case .path(let path) = failure { path.kind } else { nil }
}

@Test(arguments: roles)
func aGoodChainNamesItsPeer(_ role: TLSRole) throws {
  let domain = try Domain()
  let peer = try domain.verify(domain.root.issue("spiffe://td/ns/a/sa/b").chain, role: role)
  #expect(peer.id.description == "spiffe://td/ns/a/sa/b")
  #expect(peer.trustDomain == domain.trustDomain)
  #expect(peer.notAfter == Timestamp(seconds: TestAuthority.epoch + 86_400))
}

@Test func intermediatesAreUsedInAnyOrderAndEarliestEndCounts() throws {
  let domain = try Domain()
  var short = CertificatePlan.authority("td")
  short.notAfter = TestAuthority.epoch + 600
  let identity = domain.root.intermediate(short).intermediate().issue("spiffe://td/a")
  #expect(identity.chain.count == 3)
  for chain in [identity.chain, [identity.chain[0], identity.chain[2], identity.chain[1]]] {
    #expect(try domain.verify(chain).notAfter == Timestamp(seconds: TestAuthority.epoch + 600))
  }
  #expect(try kind(domain.failure([identity.chain[0], identity.chain[1]])) == .untrusted)
  #expect(try kind(domain.failure([identity.chain[0]])) == .untrusted)
}

@Test func anIntermediateMayBeTheAnchor() throws {
  let domain = try Domain()
  let issuing = domain.root.intermediate()
  let identity = issuing.issue("spiffe://td/a")
  #expect(try domain.failure(identity.chain, anchors: [issuing.certificate]) == nil)
  #expect(try domain.failure([identity.chain[0]], anchors: [issuing.certificate]) == nil)
}

// Rule 1

@Test func emptyLongAndUnreadableChains() throws {
  let domain = try Domain()
  let good = domain.root.issue("spiffe://td/a").chain
  #expect(try domain.failure([]) == .emptyChain)
  #expect(
    try domain.failure(good + Array(repeating: domain.root.certificate, count: 10))
      == .chainTooLong(count: 11))
  #expect(try domain.failure([[1, 2, 3]]) == .unreadable(index: 0, reason: "not one DER certificate"))
  #expect(try domain.failure(good + [[]]) == .unreadable(index: 1, reason: "not one DER certificate"))
  // The leaf comes first, whatever follows.
  #expect(try domain.failure([domain.root.certificate] + good) == .namesTrustDomain(domain.trustDomain))
}

// Rules 2 and 3

@Test(arguments: [
  (String?.none, VerificationFailure.noURI),
  ("DNS:td", .noURI),
  ("URI:spiffe://td/a,URI:spiffe://td/b", .severalURIs(count: 2)),
  ("URI:spiffe://td/a,URI:https://td/a", .severalURIs(count: 2)),
  ("URI:spiffe://td/a,URI:spiffe://td/a", .severalURIs(count: 2)),
  ("URI:https://td/a", .notSPIFFEID(.wrongScheme)),
  ("URI:spiffe://td/a/", .notSPIFFEID(.trailingSlash)),
  ("URI:spiffe://TD/a", .notSPIFFEID(.trustDomainByte(UInt8(ascii: "T"), offset: 9))),
  ("URI:spiffe://td/a?b", .notSPIFFEID(.pathByte(UInt8(ascii: "?"), offset: 13))),
])
func theLeafHasOneSPIFFEID(_ names: String?, _ expected: VerificationFailure) throws {
  #expect(try Domain().failure { $0.subjectAlternativeName = names } == expected)
}

@Test func theLeafNamesAWorkload() throws {
  let domain = try Domain()
  #expect(
    try domain.failure { $0.subjectAlternativeName = "URI:spiffe://td" }
      == .namesTrustDomain(domain.trustDomain))
}

@Test func aNULInTheNameDoesNotShortenIt() throws {
  let name = Array("spiffe://td/a".utf8) + [0] + Array("x".utf8)
  let failure = try Domain().failure {
    $0.subjectAlternativeName = nil
    $0.rawSubjectAlternativeName = [0x30, UInt8(name.count + 2), 0x86, UInt8(name.count)] + name
  }
  #expect(failure == .notSPIFFEID(.pathByte(0, offset: 13)))
}

@Test func otherNamesDoNotMatter() throws {
  #expect(
    try Domain().failure { $0.subjectAlternativeName = "DNS:x,URI:spiffe://td/a,IP:10.0.0.1,email:a@b" }
      == nil)
}

// Rules 4, 5 and 6

@Test(arguments: [
  (String?("critical,CA:TRUE"), VerificationFailure?(.leafIsAuthority)),
  ("CA:TRUE,pathlen:0", .leafIsAuthority),
  ("CA:FALSE", nil),
  (nil, nil),
])
func theLeafIsNoAuthority(_ constraints: String?, _ expected: VerificationFailure?) throws {
  #expect(try Domain().failure { $0.basicConstraints = constraints } == expected)
}

@Test(arguments: [
  (String?("critical,digitalSignature,keyCertSign"), VerificationFailure?(.leafMaySign)),
  ("critical,digitalSignature,cRLSign", .leafMaySign),
  ("digitalSignature,keyCertSign,cRLSign", .leafMaySign),
  ("critical,keyEncipherment", .noDigitalSignature),
  ("critical,digitalSignature,keyEncipherment,keyAgreement", nil),
  ("digitalSignature", nil),
  (nil, nil),
])
func theLeafSignsHandshakesOnly(_ usage: String?, _ expected: VerificationFailure?) throws {
  #expect(try Domain().failure { $0.keyUsage = usage } == expected)
}

@Test(arguments: [
  (String?("serverAuth"), true, false), ("clientAuth", false, true), ("serverAuth,clientAuth", true, true),
  ("codeSigning", false, false), ("codeSigning,clientAuth", false, true), ("anyExtendedKeyUsage", true, true),
  (nil, true, true),
])
func thePurposeAllowsTheRole(_ purposes: String?, _ asServer: Bool, _ asClient: Bool) throws {
  let domain = try Domain()
  var plan = CertificatePlan.workload("spiffe://td/a")
  plan.extendedKeyUsage = purposes
  let chain = domain.root.issue(plan).chain
  for (role, allowed) in [(TLSRole.server, asServer), (.client, asClient)] {
    if allowed {
      _ = try domain.verify(chain, role: role)
    } else {
      #expect(throws: VerificationFailure.wrongPurpose(role: role)) { try domain.verify(chain, role: role) }
    }
  }
}

// Rule 7

@Test func theBundleIsThatOfTheLeafsOwnTrustDomain() throws {
  let home = try Domain("td")
  let other = try Domain("other")
  let leaf = home.root.issue("spiffe://td/a").chain
  #expect(throws: VerificationFailure.unknownTrustDomain(home.trustDomain)) {
    try verifyPeer(chain: leaf, bundles: other.bundles(), at: now, role: .client)
  }
  // A trusted foreign authority that signs our names is not believed.
  let forged = other.root.issue("spiffe://td/a").chain
  let pooled = try home.bundles().merging(other.bundles()) { first, _ in first }
  let failure = #expect(throws: VerificationFailure.self) {
    try verifyPeer(chain: forged, bundles: pooled, at: now, role: .client)
  }
  #expect(kind(failure) == .untrusted)
}

@Test func anEmptyBundleTrustsNobody() throws {
  let domain = try Domain()
  #expect(
    try domain.failure(domain.root.issue("spiffe://td/a").chain, anchors: [])
      == .emptyBundle(domain.trustDomain))
}

@Test func aStrangerWithTheSameNameIsUntrusted() throws {
  let domain = try Domain()
  let stranger = TestAuthority("td")
  let chain = stranger.issue("spiffe://td/a").chain
  #expect(try kind(domain.failure(chain)) == .untrusted)
  #expect(try kind(domain.failure(chain + [stranger.certificate])) == .untrusted)
}

// Rule 8

@Test func everyCertificateMustBeValidNow() throws {
  let domain = try Domain()
  let identity = domain.root.issue("spiffe://td/a")
  let day: Int64 = 86_400
  #expect(try domain.failure(identity.chain, at: Timestamp(seconds: TestAuthority.epoch + day - 1)) == nil)
  #expect(
    try kind(domain.failure(identity.chain, at: Timestamp(seconds: TestAuthority.epoch + day + 1)))
      == .expired)
  #expect(
    try kind(domain.failure(identity.chain, at: Timestamp(seconds: TestAuthority.epoch - 3601)))
      == .notYetValid)
  var old = CertificatePlan.authority("td")
  old.notAfter = TestAuthority.epoch - 1
  let expired = try domain.failure(domain.root.intermediate(old).issue("spiffe://td/a").chain)
  #expect(kind(expired) == .expired)
  if case .path(let path) = expired { #expect(path.depth == 1) }
  let oldRoot = try Domain(root: old)
  #expect(try kind(oldRoot.failure(oldRoot.root.issue("spiffe://td/a").chain)) == .expired)
}

@Test func aDamagedSignatureIsFound() throws {
  let domain = try Domain()
  var chain = domain.root.issue("spiffe://td/a").chain
  chain[0][chain[0].count - 1] ^= 1
  #expect(try kind(domain.failure(chain)) == .badSignature)
}

@Test func issuersMustBeAuthorities() throws {
  let domain = try Domain()
  var plan = CertificatePlan.authority("td")
  plan.basicConstraints = "critical,CA:FALSE"
  plan.keyUsage = "critical,digitalSignature"
  #expect(
    try kind(domain.failure(domain.root.intermediate(plan).issue("spiffe://td/a").chain))
      == .issuerNotAuthority)
  plan = .authority("td")
  plan.keyUsage = "critical,cRLSign"
  #expect(
    try kind(domain.failure(domain.root.intermediate(plan).issue("spiffe://td/a").chain))
      == .issuerNotAuthority)
}

@Test func pathLengthIsKept() throws {
  var plan = CertificatePlan.authority("td")
  plan.basicConstraints = "critical,CA:TRUE,pathlen:0"
  let domain = try Domain(root: plan)
  #expect(try domain.failure(domain.root.issue("spiffe://td/a").chain) == nil)
  #expect(try kind(domain.failure(domain.root.intermediate().issue("spiffe://td/a").chain)) == .pathTooLong)
}

@Test func unknownCriticalExtensionsAreRefused() throws {
  #expect(try kind(Domain().failure { $0.unknownCriticalExtension = true }) == .unknownCriticalExtension)
  let domain = try Domain()
  var plan = CertificatePlan.authority("td")
  plan.unknownCriticalExtension = true
  let chain = domain.root.intermediate(plan).issue("spiffe://td/a").chain
  #expect(try kind(domain.failure(chain)) == .unknownCriticalExtension)
}

@Test(arguments: [
  ("critical,permitted;URI:td", true), ("critical,permitted;URI:other", false),
  ("critical,excluded;URI:td", false), ("critical,excluded;URI:other", true),
  ("critical,permitted;URI:.td", false), ("critical,permitted;DNS:td", true),
])
func nameConstraintsAreHonoured(_ constraints: String, _ permitted: Bool) throws {
  let domain = try Domain()
  var plan = CertificatePlan.authority("td")
  plan.nameConstraints = constraints
  let failure = try domain.failure(domain.root.intermediate(plan).issue("spiffe://td/a").chain)
  #expect(kind(failure) == (permitted ? nil : .nameNotPermitted))
}

// Rules 9 and 10

@Test(arguments: [
  (String?("critical,keyCertSign"), String?("URI:spiffe://td"), SigningFault?.none),
  ("critical,keyCertSign", "URI:spiffe://td/", nil),
  ("critical,keyCertSign", nil, nil),
  ("critical,keyCertSign", "DNS:ca.td", nil),
  ("keyCertSign", "URI:spiffe://td", .keyUsageNotCritical),
  (nil, "URI:spiffe://td", .keyUsageMissing),
  ("critical,keyCertSign", "URI:spiffe://td,URI:spiffe://te", .severalURIs(count: 2)),
  ("critical,keyCertSign", "URI:https://td", .notSPIFFEID("https://td")),
])
func signersAreFitToSign(_ usage: String?, _ names: String?, _ fault: SigningFault?) throws {
  let domain = try Domain()
  var plan = CertificatePlan.authority("td")
  plan.keyUsage = usage
  plan.subjectAlternativeName = names
  let failure = try domain.failure(domain.root.intermediate(plan).issue("spiffe://td/a").chain)
  #expect(failure == fault.map { .signingCertificate(depth: 1, $0) })
}

@Test func signersNameNoWorkloadAndNoOtherTrustDomain() throws {
  let domain = try Domain()
  var plan = CertificatePlan.authority("td")
  plan.subjectAlternativeName = "URI:spiffe://td/ca"
  #expect(
    try domain.failure(domain.root.intermediate(plan).issue("spiffe://td/a").chain)
      == .signingCertificate(depth: 1, .namesWorkload(SPIFFEID(parsing: "spiffe://td/ca"))))
  plan.subjectAlternativeName = "URI:spiffe://other"
  #expect(
    try domain.failure(domain.root.intermediate(plan).issue("spiffe://td/a").chain)
      == .signingCertificate(depth: 1, .otherTrustDomain(TrustDomain("other"))))
}

@Test func anAnchorsKeyUsageMayBeWrittenLoosely() throws {
  var plan = CertificatePlan.authority("td")
  for usage in [String?.none, "keyCertSign"] {
    plan.keyUsage = usage
    let domain = try Domain(root: plan)
    #expect(try domain.failure(domain.root.issue("spiffe://td/a").chain) == nil)
  }
}

@Test func aLeafIsNeverAnAnchor() throws {
  let domain = try Domain()
  let leaf = domain.root.issue("spiffe://td/a").chain
  #expect(throws: TrustError.self) { try domain.bundles(leaf) }
}

// Rule 13

@Test func whatItsIssuerHasRevokedIsRefused() throws {
  let domain = try Domain()
  let below = domain.root.intermediate()
  let (leaf, other) = (below.issue("spiffe://td/a"), below.issue("spiffe://td/b"))
  func failure(_ chain: [[UInt8]], _ lists: [[UInt8]]) throws -> VerificationFailure? {
    var bundle = try #require(domain.bundles()[domain.trustDomain])
    bundle.revocations = try lists.map { try RevocationList(der: $0) }
    do throws(VerificationFailure) {
      _ = try verifyPeer(chain: chain, bundles: [domain.trustDomain: bundle], at: now, role: .client)
      return nil
    } catch {
      return error
    }
  }
  let revoked = below.revoking([other.chain[0], leaf.chain[0]])
  #expect(try failure(leaf.chain, [revoked]) == .revoked(depth: 0))
  #expect(try failure(leaf.chain, [below.revoking([]), revoked]) == .revoked(depth: 0))
  #expect(
    try failure(below.issue("spiffe://td/a").chain, [revoked]) == nil, "another certificate of the same name")
  #expect(try failure(leaf.chain, [domain.root.revoking([below.certificate])]) == .revoked(depth: 1))
  // Nobody else may speak for an issuer: not its superior, nor who bears its name.
  #expect(try failure(leaf.chain, [domain.root.revoking([leaf.chain[0]])]) == nil)
  #expect(try failure(leaf.chain, [domain.root.intermediate().revoking([leaf.chain[0]])]) == nil)
  #expect(throws: TLSError.listUnreadable) { try RevocationList(der: revoked + [0]) }
  #expect(throws: TLSError.listUnreadable) { try RevocationList(der: leaf.chain[0]) }
}

// Rule 11 and authorization

@Test func anEmptySubjectIsAccepted() throws {
  #expect(try Domain().failure { $0.commonName = "" } == nil)
}

@Test func authorizationIsByPattern() throws {
  let domain = try Domain()
  let peer = try domain.verify(domain.root.issue("spiffe://td/mcp/central").chain)
  let expected = try SPIFFEPattern(parsing: "spiffe://td/mcp/*")
  let other = try SPIFFEPattern(parsing: "spiffe://td/other")
  #expect(try peer.authorized(as: expected) == peer)
  #expect(throws: VerificationFailure.wrongID(peer.id, expected: other)) { try peer.authorized(as: other) }
}

@Test func resultsAndAlertsOfFailures() throws {
  let trustDomain = try TrustDomain("td")
  let cases: [(VerificationFailure, String, TLSAlert)] = [
    (.emptyChain, "no_certificate", .badCertificate),
    (.noURI, "bad_id", .badCertificate),
    (.wrongPurpose(role: .client), "bad_id", .unsupportedCertificate),
    (.unknownTrustDomain(trustDomain), "untrusted", .unknownCA),
    (.path(PathFailure(kind: .expired, depth: 0, reason: "")), "expired", .certificateExpired),
    (.path(PathFailure(kind: .notYetValid, depth: 0, reason: "")), "expired", .badCertificate),
    (.path(PathFailure(kind: .untrusted, depth: 0, reason: "")), "untrusted", .unknownCA),
    (.path(PathFailure(kind: .badSignature, depth: 0, reason: "")), "untrusted", .badCertificate),
    (
      .wrongID(SPIFFEID(trustDomain), expected: try SPIFFEPattern(parsing: "spiffe://td/*")), "wrong_id",
      .certificateUnknown
    ),
  ]
  for (failure, result, alert) in cases {
    #expect(failure.handshakeResult == result)
    #expect(failure.alert == alert)
    guard case .reject(alert, let reason, failure.result) = failure.verdict else {
      Issue.record("the verdict of \(failure) differs")
      continue
    }
    #expect(reason == failure.description)
  }
}
