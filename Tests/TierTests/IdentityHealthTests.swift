// Goal: an SVID that grows old, a goal that is not met, and a clock that cannot be relied on are told early, each
// once, and what is over is no longer shown. Method: one look a minute over lives of virtual hours.

import Primitives
import SPIFFE
import TestCertificates
import Testing
import Trust

@testable import Tier

private let authority = TestAuthority("td")
private let epoch = TestAuthority.epoch

/// An SVID from `begin` for `life` seconds; its authority lasts a week from the epoch.
private func credentials(_ life: Int64, from begin: Int64 = 0) throws -> Credentials {
  var plan = CertificatePlan.workload("spiffe://td/relay")
  plan.notBefore = epoch + begin
  plan.notAfter = epoch + begin + life
  let issued = authority.issue(plan)
  let domain = try TrustDomain("td")
  return Credentials(
    svid: try X509SVID(derChain: issued.chain.flatMap { $0 }, derKey: issued.secret),
    bundles: [domain: try Bundle(trustDomain: domain, anchors: [authority.certificate])], generation: 1)
}

private func at(_ seconds: Int64) -> Timestamp { Timestamp(seconds: epoch + seconds) }

struct IdentityHealthTests {
  @Test func anSVIDThatNobodyRenewsIsToldOfFourTimes() throws {
    var health = IdentityHealth(goal: nil)
    let svid = try credentials(3_600)
    var told: [Int64: [TierEvent]] = [:]
    for second in stride(from: Int64(0), through: 7_200, by: 60) {
      let events = health.look(svid, at: at(second), jump: nil)
      if !events.isEmpty { told[second] = events }
    }
    #expect(told.keys.sorted() == [1_800, 2_700, 3_240, 3_600])
    #expect(told[1_800]?.first?.level == .notice && told[2_700]?.first?.level == .warning)
    #expect(told[3_240]?.first?.message.contains("90 %") == true && told[3_240]?.first?.level == .error)
    #expect(told[3_600]?.first?.message.contains("has expired") == true)
  }

  @Test func aRenewedSVIDStartsAnew() throws {
    var health = IdentityHealth(goal: nil)
    #expect(health.look(try credentials(3_600), at: at(2_000), jump: nil).count == 1)
    let renewed = try credentials(3_600, from: 1_900)
    #expect(health.look(renewed, at: at(2_000), jump: nil).isEmpty)
    #expect(health.look(renewed, at: at(1_900 + 1_801), jump: nil).count == 1)
  }

  /// A start with an old SVID says how old it is, not everything that came before.
  @Test func whatWasMissedIsToldOnce() throws {
    var health = IdentityHealth(goal: nil)
    #expect(health.look(try credentials(3_600), at: at(3_500), jump: nil).map(\.level) == [.error])
  }

  @Test func theOfflineGoal() throws {
    var health = IdentityHealth(goal: .seconds(3_600))
    let svid = try credentials(7_200)
    #expect(health.look(svid, at: at(0), jump: nil).isEmpty)
    #expect(health.isGoalMet == true && health.warnings.isEmpty)
    #expect(
      health.look(svid, at: at(3_600), jump: nil).map(\.level) == [.notice], "50 %, the goal still holds")
    #expect(health.look(svid, at: at(3_601), jump: nil).map(\.level) == [.warning])
    #expect(health.isGoalMet == false)
    #expect(health.warnings.first?.contains("the SVID ends at") == true)
    #expect(health.warnings.first?.contains("offline goal of 1h") == true)
    #expect(health.look(svid, at: at(3_700), jump: nil).isEmpty, "told once")
    #expect(
      health.look(try credentials(7_200, from: 3_600), at: at(3_700), jump: nil).map(\.level) == [.notice])
    #expect(health.warnings.isEmpty)
  }

  @Test func whatWasTakenBackLastsNoLonger() throws {
    let svid = try credentials(7_200)
    let taken = Credentials(
      svid: svid.svid, bundles: svid.bundles, generation: 2, withdrawnAt: at(100))
    #expect(taken.survivesUntil == at(100))
    var health = IdentityHealth(goal: .seconds(3_600))
    #expect(health.look(svid, at: at(50), jump: nil).isEmpty)
    #expect(health.look(taken, at: at(100), jump: nil).map(\.level) == [.warning])
    #expect(
      health.isGoalMet == false && health.warnings.first?.contains("the SVID was taken back at") == true)
    #expect(health.look(svid, at: at(200), jump: nil).map(\.level) == [.notice])
  }

  @Test func theBundleMayEndFirst() throws {
    var health = IdentityHealth(goal: .seconds(30 * 86_400))
    _ = health.look(try credentials(20 * 86_400), at: at(0), jump: nil)
    #expect(health.warnings.first?.contains("the bundle of our trust domain") == true)
  }

  @Test func aClockThatJumpsAndOneThatNobodyKeeps() {
    var health = IdentityHealth(goal: nil)
    #expect(health.look(nil, at: at(0), jump: .seconds(-400)).map(\.level) == [.warning])
    #expect(health.look(nil, at: at(1), jump: .seconds(-400)).isEmpty)
    #expect(health.warnings.count == 1 && health.warnings[0].contains("-400 s"))
    #expect(health.note(synchronised: false).map(\.level) == [.warning])
    #expect(health.warnings.count == 2)
    #expect(health.note(synchronised: false).isEmpty)
    #expect(health.look(nil, at: at(60), jump: nil).map(\.level) == [.notice])
    #expect(health.note(synchronised: true).map(\.level) == [.notice])
    #expect(health.warnings.isEmpty)
    #expect(health.note(synchronised: nil).isEmpty, "a kernel that does not say is no news")
  }
}
