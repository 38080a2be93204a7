// Goal: a stream outlives the certificates of both its ends, as long as they are renewed, and nobody sees it move; where
// nothing is renewed it ends in time. Method: staged upstreams and a subscription whose SVIDs live for a minute of
// virtual time.

import Primitives
import Ring
import TestCertificates
import Testing

@testable import Upstream

@Suite struct RenewalTests {
  private func identity(until seconds: Int64) -> TestIdentity {
    var plan = CertificatePlan.workload("spiffe://example.org/central")
    plan.notAfter = TestAuthority.epoch + seconds
    return Stage.authority.issue(plan)
  }

  private func following(living seconds: Int64, own: Int64) throws -> (Stage, UpstreamHost) {
    let stage = Stage()
    let central = try stage.upstream("central", living: seconds)
    central.serve([gateway: [try resource(gateway, "g")], sidecar: []])
    stage.ownLife = own
    try stage.subscribe(["central"])
    #expect(stage.run { stage.isFollowing && stage.isComplete })
    return (stage, central)
  }

  @Test func renewedOnBothSidesAStreamNeverEnds() throws {
    let (stage, central) = try following(living: 60, own: 60)
    let states = stage.states.count
    for turn in 1...20 as ClosedRange<Int64> {
      stage.network.run(for: .seconds(25))
      try central.renew(identity(until: turn * 25 + 60))
      try stage.adopt(trusting: [Stage.authority], living: turn * 25 + 60)
      central.serve([gateway: [try resource(gateway, "g\(turn)")], sidecar: []])
      #expect(stage.run { stage.held[gateway] == ["foo/g\(turn)"] })
    }
    #expect(stage.states.count == states, "whoever looks at status sees nothing of it")
    #expect((5...60).contains(central.opened), "\(central.opened) streams")
    #expect(central.connections.count <= 2)
  }

  @Test func aServerThatIsNotRenewedIsLeftWhenItsTimeIsOver() throws {
    let (stage, central) = try following(living: 60, own: 80_000)
    stage.network.run(for: .seconds(50))
    #expect(stage.isFollowing)
    #expect(stage.run(atMost: .seconds(20)) { !stage.isFollowing })
    #expect(central.opened == 1, "a certificate that is not newer is no reason to move")
  }

  /// Nothing is dialled to show the same SVID again.
  @Test func withoutANewerSVIDOfOursNothingIsDialled() throws {
    let (stage, central) = try following(living: 86_400, own: 60)
    stage.network.run(for: .seconds(58))
    #expect(stage.isFollowing && central.opened == 1 && central.connections.count == 1)
    try stage.adopt(trusting: [Stage.authority], living: 600)
    #expect(stage.run(atMost: .seconds(2)) { central.opened >= 2 })
    stage.network.run(for: .seconds(60))
    #expect(stage.isFollowing && stage.states.map(\.health).filter { $0 == .following }.count == 1)
  }
}
