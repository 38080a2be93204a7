// Goal: what doctor says of clock, kernel and life of an SVID, and how it says it. Method: answers of every kernel in a
// table, SVIDs at every point of their life. Real hosts are in Tests/Integration/test_26_doctor.py.

import Primitives
import SPIFFE
import TestCertificates
import Testing
import Trust

@testable import Console

private let authority = TestAuthority("td")

/// An SVID that lives for `life` seconds from the epoch.
private func credentials(_ life: Int64) throws -> Credentials {
  var plan = CertificatePlan.workload("spiffe://td/a")
  plan.notBefore = TestAuthority.epoch
  plan.notAfter = TestAuthority.epoch + life
  let issued = authority.issue(plan)
  let domain = try TrustDomain("td")
  return Credentials(
    svid: try X509SVID(derChain: issued.chain.flatMap { $0 }, derKey: issued.secret),
    bundles: [domain: try Bundle(trustDomain: domain, anchors: [authority.certificate])], generation: 1)
}

private func life(_ passed: Int64, goal: Duration? = nil) throws -> [DoctorFinding] {
  IdentityProbe.life(
    of: try credentials(10_000), goal: goal, renew: "renew it",
    at: Timestamp(seconds: TestAuthority.epoch + passed))
}

struct DoctorTests {
  @Test(arguments: [
    ("6.1.0-18-amd64", true), ("6.12.3", true), ("7.0", true), ("6.0.9", false), ("5.15.0-91-generic", false),
    ("4", false), ("", false), ("x.y", false), ("6.1-rc3", true),
  ])
  func kernels(_ release: String, _ isNew: Bool) {
    let finding = HostProbes.kernel(release)
    #expect((finding.level == .ok) == isNew)
    #expect(finding.fix.isEmpty == isNew)
  }

  @Test(
    arguments: [(1, DoctorFinding.Level.ok), (0, .warning), (-1, .warning)] as [(Int32, DoctorFinding.Level)])
  func clocks(_ answer: Int32, _ level: DoctorFinding.Level) {
    #expect(HostProbes.clock(answer).level == level)
  }

  @Test(
    arguments: [
      (0, DoctorFinding.Level.ok), (7_499, .ok), (7_501, .warning), (8_999, .warning), (9_001, .problem),
    ] as [(Int64, DoctorFinding.Level)])
  func anSVIDGrowsOld(_ passed: Int64, _ level: DoctorFinding.Level) throws {
    let findings = try life(passed)
    #expect(findings.map(\.level) == [level])
    #expect(findings[0].text.contains("spiffe://td/a until "))
    #expect(findings[0].fix == (level == .ok ? "" : "renew it"))
  }

  @Test(
    arguments: [(0, nil, true), (0, 990, false), (990, 990, true), (1_000, 990, false)]
      as [(UInt32, UInt32?, Bool)])
  func users(_ running: UInt32, _ service: UInt32?, _ isFine: Bool) {
    #expect((HostProbes.user(running: running, service: service).level == .ok) == isFine)
  }

  @Test func theOfflineGoal() throws {
    #expect(try life(0, goal: .seconds(10_000)).count == 1)
    let findings = try life(1, goal: .seconds(10_000))
    #expect(findings.map(\.level) == [.ok, .warning])
    #expect(findings[1].text.contains("offline goal of 2 hours"))
  }

  @Test func oneLineForEachAndOneForItsFix() {
    let findings: [DoctorFinding] = [
      .ok(.clock, "right"), .warning(.kernel, "old\nand \u{1B}[31mforeign", fix: "newer"),
      .problem(.reachability, "gone", fix: "look"),
    ]
    #expect(!findings.isSound)
    let lines = findings.text.split(separator: "\n").map(String.init)
    #expect(lines.count == 6)
    #expect(lines[0] == "ok       clock          right")
    #expect(lines[1].hasPrefix("warning  kernel         old") && !lines[1].contains("\u{1B}"))
    #expect(lines[2].hasSuffix("fix: newer") && lines[4].hasSuffix("fix: look"))
    #expect(lines[5] == "1 problems, 1 warnings")
    #expect(
      findings.json
        .hasPrefix(
          #"{"sound":false,"findings":[{"probe":"clock","level":"ok","message":"right","fix":null},"#))
  }
}
