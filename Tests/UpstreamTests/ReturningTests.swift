// Goal: an upstream list is followed in its order without a gap, and an address that is not fit costs nobody
// anything. Method: staged upstreams that stop, come back, lag and refuse; what was delivered, in what state.

import GRPC
import Primitives
import Ring
import Snapshots
import Testing
import Transport
import XDS

@testable import Upstream

@Suite struct ReturningTests {
  /// The second of two is being followed, the first is gone.
  private func failedOver() throws -> (Stage, UpstreamHost, UpstreamHost) {
    let stage = Stage()
    let (first, second) = (try stage.upstream("first"), try stage.upstream("second"))
    for host in [first, second] { host.serve([gateway: [try resource(gateway, "g")], sidecar: []]) }
    try stage.subscribe(["first", "second"])
    #expect(stage.run { stage.isComplete })
    first.stop()
    #expect(stage.run { second.opened == 1 && stage.isFollowing })
    return (stage, first, second)
  }

  @Test func thePreferredAddressIsFollowedAgainWithoutAGap() throws {
    let (stage, first, second) = try failedOver()
    try first.start()
    let before = stage.states.count
    #expect(stage.run(atMost: .seconds(80)) { second.connections.isEmpty })
    #expect(stage.states.count == before, "whoever looks at status sees nothing of it")
    #expect(stage.isFollowing)
    first.serve([gateway: [try resource(gateway, "h")], sidecar: []])
    #expect(stage.run { stage.held[gateway] == ["foo/h"] })
  }

  @Test func anAddressThatIsBehindIsNotGoneBackTo() throws {
    let (stage, first, second) = try failedOver()
    for name in ["h", "i"] { second.serve([gateway: [try resource(gateway, name)], sidecar: []]) }
    #expect(stage.run { stage.held[gateway] == ["foo/i"] })
    try first.start()
    let before = stage.states.count
    #expect(stage.run(atMost: .seconds(80)) { first.opened > 1 })
    stage.network.run(for: .seconds(30))
    #expect(stage.states.count == before && stage.isFollowing)
    #expect(stage.held[gateway] == ["foo/i"] && second.connections.count == 1)
    // It catches up, and is gone back to at a later try.
    for name in ["x", "y", "z"] { first.serve([gateway: [try resource(gateway, name)], sidecar: []]) }
    #expect(stage.run(atMost: .seconds(400)) { stage.held[gateway] == ["foo/z"] })
    #expect(stage.run { second.connections.isEmpty } && stage.isFollowing)
  }

  @Test func anAddressThatRefusesOrIsSilentIsNotGoneBackTo() throws {
    let (stage, first, second) = try failedOver()
    first.refusal = GRPCStatus(.permissionDenied, "no")
    try first.start()
    let before = stage.states.count
    #expect(stage.run(atMost: .seconds(80)) { first.opened == 2 })
    first.refusal = nil
    first.isMute = true
    #expect(stage.run(atMost: .seconds(200)) { first.opened == 3 })
    stage.network.run(for: .seconds(90))
    #expect(stage.states.count == before && stage.isFollowing && second.connections.count == 1)
    #expect(first.connections.isEmpty, "a trial ends")
  }

  /// What fails soon after it was gone back to is tried less and less.
  @Test func anAddressThatComesAndGoesIsFollowedLessAndLess() throws {
    let (stage, first, second) = try failedOver()
    defer { withExtendedLifetime(second) {} }
    var waits: [Duration] = []
    for _ in 0..<4 {
      try first.start()
      let began = stage.network.now
      #expect(stage.run(atMost: .seconds(1_000)) { first.connections.count == 1 && stage.isFollowing })
      waits.append(stage.network.now - began)
      stage.network.run(for: .seconds(1))
      first.stop()
      #expect(stage.run(atMost: .seconds(60)) { stage.isFollowing && first.connections.isEmpty })
    }
    #expect(zip(waits, waits.dropFirst()).allSatisfy { $0 < $1 }, "\(waits)")
    #expect(waits[3] > .seconds(300))
  }

  @Test func theRotaPrefersTheFirstAndSkipsNobody() {
    var rota = EndpointRota(count: 3)
    #expect(rota.current == 0)
    #expect(rota.failed() == .atOnce && rota.current == 1)
    rota.answered()
    var moved = rota
    moved.moved(to: 0)
    #expect(moved.failed() == .atOnce && moved.current == 1, "what was left is tried before what has failed")
    #expect(rota.failed() == .atOnce && rota.current == 0, "after the second, the first again")
    #expect(rota.failed() == .atOnce && rota.current == 2)
    #expect(rota.failed() == .afterPause && rota.current == 0)
    #expect(rota.failed() == .atOnce && rota.current == 1)
    var single = EndpointRota(count: 1)
    #expect(single.failed() == .afterPause && single.failed() == .afterPause)
  }

  // MARK: what is said of addresses that fail

  @Test func aRefusalIsAFaultAndNoDeletion() throws {
    let stage = Stage()
    let central = try stage.upstream("central")
    central.serve([gateway: [try resource(gateway, "g")], sidecar: []])
    try stage.subscribe(["central"])
    #expect(stage.run { stage.isComplete })
    central.refusal = GRPCStatus(.permissionDenied, "no cluster of the policy has this identity")
    central.end(GRPCStatus(.unavailable, "policy changed"))
    #expect(stage.run { stage.isFailed })
    #expect(stage.trouble.contains("PERMISSION_DENIED") && stage.held[gateway] == ["foo/g"])
    stage.network.run(for: .seconds(60))
    #expect(stage.isFailed && stage.held[gateway] == ["foo/g"])
    central.refusal = nil
    #expect(stage.run(atMost: .seconds(40)) { stage.isFollowing })
  }

  @Test func everyAddressHasItsReason() throws {
    let stage = Stage()
    let denying = try stage.upstream("denying")
    denying.refusal = GRPCStatus(.permissionDenied, "not you")
    _ = stage.network.address(of: "gone", port: 1)
    try stage.subscribe(["gone", "denying"])
    #expect(stage.run { denying.opened == 2 })
    #expect(stage.isFailed)
    let addresses = stage.subscription?.settings.endpoints.map(\.description) ?? []
    #expect(addresses.allSatisfy { stage.trouble.contains($0) }, "\(stage.trouble)")
    let settled = stage.states.count
    stage.network.run(for: .seconds(120))
    #expect(stage.states.count == settled, "the same trouble is told once")
  }

  @Test func aSingleAddressThatIsSilentIsReportedAndDialledAgainMuchLater() throws {
    let stage = Stage()
    let mute = try stage.upstream("mute")
    mute.isMute = true
    try stage.subscribe(["mute"])
    stage.network.run(for: .seconds(25))
    #expect(stage.trouble.isEmpty)
    stage.network.run(for: .seconds(10))
    #expect(stage.trouble.contains("answered nothing for 30 s"), "\(stage.trouble)")
    stage.network.run(for: .seconds(240))
    #expect(mute.opened == 1, "it may be waiting for its own upstream")
    stage.network.run(for: .seconds(60))
    #expect(mute.opened == 2)
    mute.isMute = false
    mute.serve([gateway: [], sidecar: []])
    #expect(stage.run { stage.isFollowing })
  }
}
