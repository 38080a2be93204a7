// Goal: a server without an SVID is the host it should be, or every reason against it has its own name. Method: one
// good certificate, then one change at a time; a table of names.

import Primitives
import TLS
import TestCertificates
import Testing

@testable import Trust

private let now = Timestamp(seconds: TestAuthority.epoch)
private let istiod = "istiod.istio-system.svc"

@Suite struct HostVerificationTests {
  private let mesh = TestAuthority("mesh.example")

  private func failure(
    named name: String = istiod, at instant: Timestamp = now, authority: TestAuthority? = nil,
    _ change: (inout CertificatePlan) -> Void = { _ in }
  ) throws -> HostFailure? {
    var plan = CertificatePlan.workload("spiffe://mesh.example/unused")
    plan.subjectAlternativeName = "DNS:\(istiod),DNS:istio-pilot.istio-system.svc"
    change(&plan)
    let chain = try mesh.issue(plan).chain.map { try Certificate(der: $0) }
    let anchors = [try Certificate(der: (authority ?? mesh).certificate)]
    do {
      let host = try verifyHost(chain: chain, authority: anchors, name: name, at: instant)
      #expect(host.name == name && host.notAfter <= chain[0].notAfter)
      return nil
    } catch {
      return error
    }
  }

  @Test func aGoodServerIsFound() throws {
    #expect(try failure() == nil)
    #expect(try failure(named: "istio-pilot.istio-system.svc") == nil)
    // No SPIFFE ID is asked for, and none is in the way.
    #expect(
      try failure { $0.subjectAlternativeName = "DNS:\(istiod),URI:spiffe://a/b,URI:spiffe://a/c" } == nil)
    #expect(try failure { $0.extendedKeyUsage = nil } == nil)
  }

  @Test func everyReasonHasItsName() throws {
    #expect(
      try failure(named: "other.svc")
        == .wrongName(expected: "other.svc", found: [istiod, "istio-pilot.istio-system.svc"]))
    #expect(
      try failure { $0.subjectAlternativeName = nil } == .wrongName(expected: istiod, found: []))
    #expect(try failure { $0.extendedKeyUsage = "clientAuth" } == .wrongPurpose)
    #expect(try failure { $0.basicConstraints = "critical,CA:TRUE" } == .leafIsAuthority)
    let empty: [Certificate] = []
    #expect(throws: HostFailure.emptyChain) {
      try verifyHost(chain: empty, authority: empty, name: istiod, at: now)
    }
    guard case .path(let stranger)? = try failure(authority: TestAuthority("other.example")) else {
      Issue.record("another authority was trusted")
      return
    }
    #expect(stranger.kind == .untrusted)
    let later = Timestamp(seconds: TestAuthority.epoch + 10 * 365 * 86_400)
    guard case .path(let expired)? = try failure(at: later) else {
      Issue.record("an expired server was trusted")
      return
    }
    #expect(expired.kind == .expired)
  }

  @Test(arguments: [
    ("a.b.c", "a.b.c", true), ("A.b.C", "a.B.c", true), ("a.b.c.", "a.b.c", true), ("*.b.c", "a.b.c", true),
    ("*.b.c", "x.a.b.c", false), ("*.b.c", "b.c", false), ("*.c", "b.c", false), ("*", "c", false),
    ("a*.b.c", "ab.b.c", false), ("a.*.c", "a.b.c", false), ("", "", false), ("a.b.c", "a.b", false),
  ])
  func names(_ pattern: String, _ name: String, _ isMatch: Bool) {
    #expect(HostName.matches(pattern: pattern, name) == isMatch)
  }
}
