// Goal: a subscription follows its upstream, survives its absence, and follows only whom it may. Method: one
// subscription and staged upstreams on a simulated network; what was delivered and what state it was in.

import GRPC
import Primitives
import Ring
import SPIFFE
import Snapshots
import TestCertificates
import Testing
import Upstream
import XDS

@Suite struct SubscriptionTests {
  @Test(arguments: [ADSDialect.delta, .stateOfTheWorld]) func followsChanges(_ dialect: ADSDialect) throws {
    let stage = Stage()
    let central = try stage.upstream("central", dialect: dialect)
    central.serve([gateway: [try resource(gateway, "g")], sidecar: []])
    try stage.subscribe(["central"], dialect: dialect)
    #expect(stage.run { stage.isComplete && stage.isFollowing })
    #expect(stage.held == [gateway: ["foo/g"], sidecar: []])
    central.serve([gateway: [try resource(gateway, "h")], sidecar: [try resource(sidecar, "s")]])
    #expect(stage.run { stage.held == [gateway: ["foo/h"], sidecar: ["foo/s"]] })
  }

  @Test func aLostUpstreamIsStaleAndComesBackWithWhatChanged() throws {
    let stage = Stage()
    let central = try stage.upstream("central")
    central.serve([gateway: [try resource(gateway, "g")], sidecar: []])
    try stage.subscribe(["central"])
    #expect(stage.run { stage.isComplete })
    let firstRequests = central.requests.filter { $0.containsText("foo/g") }
    #expect(firstRequests.isEmpty)
    central.end(GRPCStatus(.unavailable, "restarting"))
    #expect(stage.run { if case .stale? = stage.subscription?.health { true } else { false } })
    central.serve([gateway: [try resource(gateway, "g"), try resource(gateway, "new")], sidecar: []])
    #expect(stage.run { stage.isFollowing && stage.held[gateway] == ["foo/g", "foo/new"] })
    let second = central.requests.contains { $0.containsText("foo/g") }
    #expect(second, "a new delta stream says what is held")
  }

  @Test func waitsLongerAndLongerBetweenTries() throws {
    let stage = Stage()
    _ = stage.network.address(of: "central", port: 1)
    try stage.subscribe(["central"])
    let began = stage.network.now
    stage.network.run(for: .seconds(300))
    guard case .connecting(let reason)? = stage.subscription?.health else {
      Issue.record("\(String(describing: stage.subscription?.health))")
      return
    }
    #expect(reason?.isEmpty == false, "status says why")
    let central = try stage.upstream("central")
    central.serve([gateway: [], sidecar: []])
    let back = stage.network.now
    #expect(stage.run(atMost: .seconds(40)) { stage.isFollowing })
    #expect(stage.network.now - back <= .seconds(37), "at most the longest wait")
    #expect(stage.network.now - began > .seconds(300))
  }

  // MARK: several addresses

  @Test func theNextAddressIsTriedAtOnce() throws {
    let stage = Stage()
    _ = stage.network.address(of: "gone", port: 1)
    let second = try stage.upstream("second")
    second.serve([gateway: [try resource(gateway, "g")], sidecar: []])
    try stage.subscribe(["gone", "second"])
    #expect(stage.run(atMost: .seconds(1)) { stage.isFollowing })
    #expect(stage.held[gateway] == ["foo/g"])
  }

  @Test func failsOverWithoutLosingAnything() throws {
    let stage = Stage()
    let (first, second) = (try stage.upstream("first"), try stage.upstream("second"))
    for host in [first, second] { host.serve([gateway: [try resource(gateway, "g")], sidecar: []]) }
    try stage.subscribe(["first", "second"])
    #expect(stage.run { stage.isComplete })
    #expect(second.opened == 0)
    first.stop()
    #expect(stage.run(atMost: .seconds(2)) { second.opened == 1 && stage.isFollowing })
    #expect(stage.held[gateway] == ["foo/g"])
  }

  @Test func anUpstreamThatNeverAnswersIsLeftForAnother() throws {
    let stage = Stage()
    let (mute, second) = (try stage.upstream("mute"), try stage.upstream("second"))
    mute.isMute = true
    second.serve([gateway: [], sidecar: []])
    try stage.subscribe(["mute", "second"])
    #expect(stage.run(atMost: .seconds(45)) { stage.isFollowing })
    #expect(mute.opened == 1 && second.opened == 1)
  }

  // MARK: trust

  @Test func nobodyElseIsFollowed() throws {
    let stage = Stage()
    let impostor = try stage.upstream("central", as: "spiffe://example.org/somebody")
    impostor.serve([gateway: [try resource(gateway, "g")], sidecar: []])
    try stage.subscribe(["central"])
    stage.network.run(for: .seconds(30))
    #expect(impostor.opened == 0 && stage.held.isEmpty)
    guard case .connecting(let reason?)? = stage.subscription?.health else {
      Issue.record("\(String(describing: stage.subscription?.health))")
      return
    }
    #expect(reason.contains("spiffe://example.org/somebody"), "\(reason)")
  }

  @Test func anExpiredUpstreamIsLeft() throws {
    let stage = Stage()
    let central = try stage.upstream("central", living: 60)
    central.serve([gateway: [], sidecar: []])
    try stage.subscribe(["central"])
    #expect(stage.run { stage.isFollowing })
    stage.network.run(for: .seconds(45))
    #expect(stage.isFollowing)
    #expect(stage.run(atMost: .seconds(20)) { !stage.isFollowing })
    #expect(stage.network.wallClock.seconds <= TestAuthority.epoch + 65)
    stage.network.run(for: .seconds(30))
    #expect(central.connections.isEmpty)
  }

  @Test func aRemovedBundleEndsTheStreamAndARotationDoesNot() throws {
    let stage = Stage()
    let central = try stage.upstream("central", as: "spiffe://other.example/central")
    central.serve([gateway: [], sidecar: []])
    try stage.subscribe(["central"], peer: "spiffe://other.example/*")
    #expect(stage.run { stage.isFollowing })
    try stage.adopt(trusting: [Stage.authority, Stage.other])
    stage.network.run(for: .seconds(5))
    #expect(stage.isFollowing && central.opened == 1)
    try stage.adopt(trusting: [Stage.authority])
    #expect(stage.run(atMost: .seconds(5)) { !stage.isFollowing && central.connections.isEmpty })
  }

  // MARK: what it says

  @Test func aTypeThatTurnedEmptyStaysSuspectUntilItIsAnsweredWell() throws {
    let stage = Stage()
    let foreign = try stage.upstream("central", dialect: .stateOfTheWorld)
    foreign.isMute = true
    try stage.subscribe(["central"], dialect: .stateOfTheWorld)
    #expect(stage.run { foreign.opened == 1 })
    foreign.say(gateway, [try resource(gateway, "g")])
    foreign.say(sidecar, [try resource(sidecar, "s")])
    #expect(stage.run { stage.isComplete && stage.isFollowing })
    foreign.end(GRPCStatus(.unavailable, "restarting"))
    #expect(stage.run { foreign.opened == 2 })
    foreign.say(gateway, [])
    foreign.say(sidecar, [try resource(sidecar, "t")])
    #expect(stage.run { stage.held[sidecar] == ["foo/t"] })
    guard case .failed? = stage.subscription?.health else {
      Issue.record("\(String(describing: stage.subscription?.health))")
      return
    }
    #expect(stage.held[gateway] == ["foo/g"], "what it had is kept")
    foreign.say(gateway, [try resource(gateway, "h")])
    #expect(stage.run { stage.isFollowing && stage.held[gateway] == ["foo/h"] })
  }

  @Test func aStoppedSubscriptionDialsNobody() throws {
    let stage = Stage()
    let central = try stage.upstream("central")
    central.serve([gateway: [], sidecar: []])
    try stage.subscribe(["central"])
    #expect(stage.run { stage.isFollowing })
    stage.subscription?.stop()
    stage.network.run(for: .seconds(60))
    #expect(central.connections.isEmpty && central.opened == 1)
  }
}
