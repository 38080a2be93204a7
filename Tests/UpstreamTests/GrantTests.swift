// Goal: a relay is told what it is granted and every change of it, by relays of ours alone; an upstream that knows
// nothing of that is followed as ever, and one that is none of ours is never asked.
// Method: one subscription and staged upstreams on a simulated network.

import GRPC
import Primitives
import Ring
import Snapshots
import Testing
import Upstream
import XDS

@Suite struct GrantTests {
  @Test(arguments: [ADSDialect.delta, .stateOfTheWorld]) func isToldAndToldOfChanges(_ dialect: ADSDialect)
    throws
  {
    let stage = Stage()
    let central = try stage.upstream("central", dialect: dialect)
    let content = [gateway: [try resource(gateway, "g")], sidecar: []]
    central.serve(content, granting: "{\"allow\":[{}]}")
    try stage.subscribe(["central"], dialect: dialect)
    #expect(stage.run { stage.grants == ["{\"allow\":[{}]}"] })
    central.serve(content, granting: "{}")
    #expect(stage.run { stage.grants.last == "{}" })
    #expect(stage.grants.count == 2 && stage.held == [gateway: ["foo/g"], sidecar: []])
    #expect(stage.isFollowing, "what is told beside the content is no part of it")
  }

  @Test func anUpstreamThatTellsNothingIsFollowedAsEver() throws {
    let stage = Stage()
    let central = try stage.upstream("central")
    central.serve([gateway: [try resource(gateway, "g")], sidecar: []])
    try stage.subscribe(["central"])
    #expect(stage.run { stage.isComplete && stage.isFollowing })
    stage.network.run(for: .seconds(5))
    #expect(stage.grants == [nil] && stage.isFollowing, "an older word of it holds no more")
    #expect(central.requests.contains { $0.containsText("meshrelay/v1/Grant") })
  }

  @Test func aForeignServerIsNeverAsked() throws {
    let stage = Stage()
    let foreign = try stage.upstream("foreign", dialect: .stateOfTheWorld)
    try stage.subscribe(["foreign"], dialect: .stateOfTheWorld)
    #expect(stage.run { foreign.requests.count >= 2 })
    foreign.say(gateway, [try resource(gateway, "g")])
    foreign.say(sidecar, [])
    #expect(stage.run { stage.held[gateway] == ["foo/g"] })
    stage.network.run(for: .seconds(5))
    #expect(!foreign.requests.contains { $0.containsText("meshrelay/v1/Grant") })
  }

  @Test func anotherStreamIsAskedAnew() throws {
    let stage = Stage()
    let central = try stage.upstream("central")
    let content = [gateway: [try resource(gateway, "g")], sidecar: []]
    central.serve(content, granting: "{}")
    try stage.subscribe(["central"])
    #expect(stage.run { stage.grants == ["{}"] })
    central.end(.init(.unavailable, "restarting"))
    central.serve(content, granting: "{\"allow\":[{}]}")
    #expect(stage.run { stage.grants.last == "{\"allow\":[{}]}" })
  }
}
