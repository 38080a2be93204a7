// Goal: servers of other makes are followed: by the classic protocol, and by DNS name and authority instead of a
// SPIFFE ID. Method: staged hosts that behave as such servers were seen to.

import GRPC
import MCP
import Primitives
import Ring
import SPIFFE
import Snapshots
import TLS
import TestCertificates
import Testing
import Upstream
import XDS

private let policy = TypeName(group: "authentication.istio.io", kind: "Policy")
private let sidecars = "istio/networking/v1alpha3/sidecars"
private let istiod = "istiod.istio-system.svc"

@Suite struct ForeignUpstreamTests {
  @Test(arguments: [MCPMethod.resourceSource, .aggregated])
  func aClassicServerIsFollowed(_ method: MCPMethod) throws {
    let stage = Stage()
    let galley = try stage.upstream("galley", method: method)
    galley.serve([gateway: [try resource(gateway, "g")], policy: [try resource(policy, "p")]])
    try stage.subscribe(classic: method, ["galley"], to: [gateway, policy])
    #expect(stage.run { stage.isComplete && stage.isFollowing })
    #expect(stage.held == [gateway: ["foo/g"], policy: ["foo/p"]])
    galley.serve([gateway: [try resource(gateway, "h")], policy: [try resource(policy, "p")]])
    #expect(stage.run { stage.held == [gateway: ["foo/h"], policy: ["foo/p"]] })
    galley.end(GRPCStatus(.unavailable, "restarting"))
    #expect(stage.run { !stage.isFollowing })
    galley.serve([
      gateway: [try resource(gateway, "h"), try resource(gateway, "i")], policy: [try resource(policy, "p")],
    ])
    #expect(stage.run { stage.isFollowing && stage.held[gateway] == ["foo/h", "foo/i"] })
  }

  @Test func anUnsupportedCollectionCostsAStreamAndNothingElse() throws {
    let stage = Stage()
    let galley = try stage.upstream("galley", method: .resourceSource)
    galley.unsupported = [sidecars]
    galley.serve([gateway: [try resource(gateway, "g")]])
    try stage.subscribe(classic: .resourceSource, ["galley"])
    #expect(stage.run { stage.isComplete && stage.isFollowing && galley.opened == 2 })
    #expect(galley.opened == 2 && galley.connections.count == 1, "another stream of the same connection")
    #expect(stage.held == [gateway: ["foo/g"], sidecar: []])
    #expect(stage.states.allSatisfy { $0.health == .following })
    // The same again after a reconnect, without another try.
    galley.end(GRPCStatus(.unavailable, "restarting"))
    #expect(stage.run { galley.opened == 3 && stage.isFollowing })
    stage.network.run(for: .seconds(5))
    #expect(galley.opened == 3)
  }

  /// A server of that time takes one ping in five minutes. One that was not pinged lately is found missing within a
  /// minute and a half; one that was, as soon as the next ping may go.
  @Test func aClassicServerThatIsGoneIsMissedAsSoonAsItMayBeAsked() throws {
    let stage = Stage()
    let galley = try stage.upstream("galley", method: .resourceSource)
    galley.serve([gateway: [try resource(gateway, "g")]])
    try stage.subscribe(classic: .resourceSource, ["galley"], to: [gateway])
    #expect(stage.run { stage.isComplete && stage.isFollowing })
    stage.network.cut("relay", "galley")
    #expect(stage.run(atMost: .seconds(90)) { !stage.isFollowing })
    stage.network.heal("relay", "galley")
    #expect(stage.run(atMost: .seconds(60)) { stage.isFollowing })
    // Silence, a ping and its answer: the next one has to wait.
    stage.network.run(for: .seconds(70))
    #expect(stage.isFollowing)
    stage.network.cut("relay", "galley")
    stage.network.run(for: .seconds(200))
    #expect(stage.isFollowing, "a second ping within five minutes would end the connection to a real one")
    #expect(stage.run(atMost: .seconds(140)) { !stage.isFollowing })
  }

  @Test func aModernServerThatIsGoneIsMissedSoon() throws {
    let stage = Stage()
    let central = try stage.upstream("central")
    central.serve([gateway: [try resource(gateway, "g")], sidecar: []])
    try stage.subscribe(["central"])
    #expect(stage.run { stage.isComplete && stage.isFollowing })
    for _ in 0..<2 {
      stage.network.run(for: .seconds(70))
      #expect(stage.isFollowing)
      stage.network.cut("relay", "central")
      #expect(stage.run(atMost: .seconds(81)) { !stage.isFollowing })
      stage.network.heal("relay", "central")
      #expect(stage.run(atMost: .seconds(60)) { stage.isFollowing })
    }
  }

  // MARK: by name and authority

  private func follow(
    _ stage: Stage, _ name: String = istiod, authority: TestAuthority = Stage.mesh, refresh: Duration? = nil
  ) throws {
    try stage.subscribe(
      ["istiod"], as: .host(name),
      follower: .discovery(stage.subscriber(.stateOfTheWorld), .stateOfTheWorld), refresh: refresh)
    try stage.adopt(
      trusting: [Stage.authority], as: "spiffe://example.org/ns/istio-system/sa/relay")
    stage.subscription?.adopt(authority: [try Certificate(der: authority.certificate)])
  }

  @Test func aHostIsFollowedByNameAndAuthority() throws {
    let stage = Stage()
    let host = try stage.host("istiod", dnsName: istiod)
    host.serve([gateway: [try resource(gateway, "g")], sidecar: []])
    try follow(stage)
    #expect(stage.run { stage.isComplete && stage.isFollowing })
    let first = try #require(host.requests.first)
    #expect(first.containsText("waypoint~127.0.0.1~mcp-relay.istio-system~istio-system.svc.cluster.local"))
    #expect(first.containsText("GENERATOR") && first.containsText("65536.65536.65536"))
  }

  @Test func nothingIsDialledWithoutTheAuthority() throws {
    let stage = Stage()
    let host = try stage.host("istiod", dnsName: istiod)
    host.serve([gateway: [], sidecar: []])
    try stage.subscribe(
      ["istiod"], as: .host(istiod),
      follower: .discovery(stage.subscriber(.stateOfTheWorld), .stateOfTheWorld))
    stage.subscription?.authorityFailed("root.pem cannot be read")
    stage.network.run(for: .seconds(5))
    #expect(host.opened == 0 && stage.trouble == "root.pem cannot be read")
    stage.subscription?.adopt(authority: [try Certificate(der: Stage.mesh.certificate)])
    #expect(stage.run { stage.isFollowing })
  }

  @Test func anotherNameOrAuthorityIsRefused() throws {
    for (name, authority, words) in [
      ("other.svc", Stage.mesh, "must be other.svc"), (istiod, Stage.other, "configured authority"),
    ] {
      let stage = Stage()
      let host = try stage.host("istiod", dnsName: istiod)
      host.serve([gateway: [], sidecar: []])
      try follow(stage, name, authority: authority)
      stage.network.run(for: .seconds(5))
      #expect(host.opened == 0)
      #expect(stage.trouble.contains(words), "\(stage.trouble)")
    }
  }

  @Test func anAuthorityThatIsReplacedEndsTheStream() throws {
    let stage = Stage()
    let host = try stage.host("istiod", dnsName: istiod)
    host.serve([gateway: [], sidecar: []])
    try follow(stage)
    #expect(stage.run { stage.isFollowing })
    stage.subscription?.adopt(authority: [try Certificate(der: Stage.other.certificate)])
    #expect(stage.run { host.connections.isEmpty && !stage.isFollowing })
  }

  @Test func everythingIsAskedForAgainEveryMinute() throws {
    let stage = Stage()
    let host = try stage.host("istiod", dnsName: istiod)
    host.serve([gateway: [try resource(gateway, "g")], sidecar: []])
    try follow(stage, refresh: .seconds(60))
    #expect(stage.run { stage.isComplete })
    stage.network.run(for: .seconds(5))
    let before = host.requests.count
    stage.network.run(for: .seconds(62))
    #expect(host.requests.count >= before + 2, "both types")
  }

  @Test func aRefusalSaysWhichIdentityIsWanted() throws {
    let stage = Stage()
    let host = try stage.host("istiod", dnsName: istiod)
    host.refusal = GRPCStatus(.permissionDenied, "authorization failed")
    try follow(stage)
    try stage.adopt(trusting: [Stage.authority], as: "spiffe://example.org/edge")
    #expect(stage.run { stage.isFailed && stage.trouble.contains("/ns/NAMESPACE/sa/NAME") })
  }

  /// Istio before 1.18 knows no waypoint.
  @Test func anOlderIstiodIsAddressedAsItKnowsNodes() throws {
    let stage = Stage()
    let host = try stage.host("istiod", dnsName: istiod)
    host.refusal = GRPCStatus(.invalidArgument, "unknown node type")
    try follow(stage)
    #expect(stage.run { host.opened == 1 && stage.isFailed })
    host.refusal = nil
    host.serve([gateway: [], sidecar: []])
    #expect(stage.run { stage.isFollowing })
    #expect(try #require(host.requests.first).containsText("router~"))
  }
}
