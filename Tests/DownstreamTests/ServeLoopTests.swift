// Goal: who is served what, and how that ends: refusal and its hold, a narrowed policy, limits, certificates
// that expire, bundles that go, drain, and the numbers told about it. Method: one serve loop and staged clients
// on a simulated network with a virtual clock.

import Downstream
import GRPC
import Policy
import Primitives
import Ring
import SPIFFE
import Snapshots
import TestCertificates
import Testing
import Trust

@Suite struct ServeLoopTests {
  private let both = ["a": "foo", "b": "bar"]

  private func stage(_ grants: [String: String], limits: Limits = Limits()) throws -> Stage {
    let stage = try Stage(try rules(grants), limits: limits)
    stage.publish([try resource("foo", "x"), try resource("bar", "y")])
    return stage
  }

  // MARK: views

  @Test(arguments: StagedDialect.allCases)
  func everyoneGetsItsView(_ dialect: StagedDialect) throws {
    let stage = try stage(both)
    let (a, b) = (try stage.client("a", dialect: dialect), try stage.client("b", dialect: dialect))
    #expect(stage.run { a.held == ["foo/x"] && b.held == ["bar/y"] })
    stage.publish([try resource("foo", "x"), try resource("foo", "z"), try resource("bar", "y")])
    #expect(stage.run { a.held == ["foo/x", "foo/z"] })
    #expect(b.responses == 1, "what it cannot see is no news")
  }

  @Test func nothingIsSaidBeforeTheSnapshotIsComplete() throws {
    let stage = try Stage(try rules(both))
    let a = try stage.client("a")
    stage.network.run(for: .seconds(60))
    #expect(a.responses == 0 && a.status == nil)
    stage.publish([])
    #expect(stage.run { a.responses == 1 })
  }

  // MARK: refusal

  @Test func whoHasNoClusterIsHeldAndThenRefused() throws {
    let stage = try stage(both)
    let began = stage.network.now
    let stranger = try stage.client("nobody")
    #expect(stage.run { stranger.status != nil })
    #expect(stranger.status?.code == .permissionDenied)
    let held = try #require(stranger.endedAt) - began
    #expect(held >= .seconds(2) && held <= .seconds(5), "\(held)")
    #expect(stranger.responses == 0)
    #expect(stage.metric("refused_total{reason=\"no_cluster\"}") == "1")
  }

  @Test func refusedConnectionsBeyondTheLimitGoAtOnce() throws {
    var limits = Limits()
    limits.refusedAtOnce = 1
    let stage = try stage(both, limits: limits)
    let first = try stage.client("nobody")
    #expect(stage.run { first.connection != nil })
    stage.network.run(for: .milliseconds(100))
    let second = try stage.client("noone")
    #expect(stage.run(atMost: .seconds(1)) { second.isClosed })
    #expect(second.status?.code == .permissionDenied)
    #expect(stage.run { first.status?.code == .permissionDenied })
    #expect(!first.isClosed)
  }

  @Test func aNewGrantLetsTheRefusedComeBack() throws {
    let stage = try stage(["a": "foo"])
    let b = try stage.client("b")
    #expect(stage.run { b.status?.code == .permissionDenied })
    stage.adopt(try rules(both))
    #expect(stage.run(atMost: .seconds(2)) { b.isClosed })
    let again = try stage.client("b")
    #expect(stage.run { again.held == ["bar/y"] })
  }

  @Test func trustDomainsThatNobodyNamesFailTheHandshake() throws {
    let stage = try stage(both)
    let partner = try stage.client("a", of: Stage.partner)
    #expect(stage.run { partner.status != nil || partner.dialReasons != nil })
    #expect(partner.status?.code != .permissionDenied)
    #expect(stage.metric("handshakes_total{result=\"untrusted\"}") == "1")
  }

  @Test func trustDomainsOfSourcesAreJudgedByPolicy() throws {
    let stage = try stage(both)
    stage.crossings.sourceTrustDomains.publish([try TrustDomain("partner.example")])
    stage.loop.waker()
    let partner = try stage.client("a", of: Stage.partner)
    #expect(stage.run { partner.status != nil })
    #expect(partner.status?.code == .permissionDenied)
  }

  // MARK: grants that end

  @Test(arguments: StagedDialect.allCases)
  func whoLosesItsClusterIsEndedAtOnce(_ dialect: StagedDialect) throws {
    let stage = try stage(both)
    let (a, b) = (try stage.client("a", dialect: dialect), try stage.client("b", dialect: dialect))
    #expect(stage.run { a.held == ["foo/x"] && b.held == ["bar/y"] })
    let began = stage.network.now
    // The class of `b` is gone from the new rules, while its connection is still there.
    stage.adopt(try rules(["a": "foo"]))
    #expect(stage.run { b.status != nil })
    #expect(b.status?.code == .permissionDenied)
    #expect(try #require(b.endedAt) - began < .seconds(1))
    stage.publish([try resource("foo", "w"), try resource("bar", "y")])
    #expect(stage.run { a.held == ["foo/w"] })
  }

  @Test(arguments: StagedDialect.allCases)
  func aNarrowedGrantIsTakenBackWithoutWaitingForAnAnswer(_ dialect: StagedDialect) throws {
    let stage = try stage(both)
    let a = try stage.client("a", dialect: dialect)
    a.acknowledges = false
    #expect(stage.run { a.held == ["foo/x"] })
    stage.adopt(try rules(["a": "baz"]))
    #expect(stage.run(atMost: .seconds(1)) { a.held.isEmpty })
    #expect(a.status == nil)
    stage.network.run(for: .seconds(5))
    #expect(a.status == nil, "what was written in time ends nothing")
  }

  @Test(arguments: [StagedDialect.delta, .mcp, .aggregatedIncremental])
  func aNarrowingThatCannotBeWrittenEndsTheStream(_ dialect: StagedDialect) throws {
    let stage = try stage(both)
    let a = try stage.client("a", dialect: dialect)
    #expect(stage.run { a.held == ["foo/x"] })
    // Far more than any window or socket takes; then nothing arrives any more.
    stage.network.run(for: .seconds(1))
    let many = try (0..<40).map { try resource("foo", "r\($0)", bytes: 1_000_000) }
    stage.network.cut("relay", "a")
    stage.publish(many)
    stage.network.run(for: .milliseconds(200))
    stage.adopt(try rules(["a": "baz"]))
    stage.network.run(for: .milliseconds(1500))
    stage.network.heal("relay", "a")
    #expect(stage.run { a.status != nil })
    #expect(a.status?.code == .unavailable)
    #expect(stage.metric("refused_total{reason=\"policy\"}") == "1")
  }

  @Test func whatASlowClientStillHasCannotOutliveItsGrantEither() throws {
    let stage = try stage(both)
    let a = try stage.client("a")
    #expect(stage.run { a.held == ["foo/x"] })
    stage.network.run(for: .seconds(1))
    let many = try (0..<40).map { try resource("foo", "r\($0)", bytes: 1_000_000) }
    stage.network.cut("relay", "a")
    stage.publish(many)
    stage.network.run(for: .milliseconds(200))
    // Its source removes what the client has, and only then the grant on it ends.
    stage.publish([try resource("bar", "y")])
    stage.network.run(for: .milliseconds(200))
    stage.adopt(try rules(["a": "baz"]))
    stage.network.run(for: .milliseconds(1500))
    stage.network.heal("relay", "a")
    #expect(stage.run { a.status != nil })
    #expect(a.status?.code == .unavailable)
  }

  @Test func aWiderPolicyEndsNobodyWhoIsSlow() throws {
    let stage = try stage(both)
    let a = try stage.client("a")
    #expect(stage.run { a.held == ["foo/x"] })
    stage.network.run(for: .seconds(1))
    let many = try (0..<40).map { try resource("foo", "r\($0)", bytes: 1_000_000) }
    stage.network.cut("relay", "a")
    stage.publish(many)
    stage.network.run(for: .milliseconds(200))
    stage.adopt(try rules(["a": "\"*\"", "b": "bar"]))
    stage.network.run(for: .seconds(5))
    stage.network.heal("relay", "a")
    #expect(stage.run { a.held.count == many.count })
    #expect(a.status == nil)
  }

  @Test func anExpiredCertificateEndsItsStream() throws {
    let stage = try stage(both)
    let a = try stage.client("a", living: 60)
    #expect(stage.run { a.held == ["foo/x"] })
    stage.network.run(for: .seconds(50))
    #expect(a.status == nil)
    #expect(stage.run(atMost: .seconds(15)) { a.status != nil })
    #expect(a.status?.code == .unauthenticated)
    #expect(stage.network.wallClock.seconds >= TestAuthority.epoch + 60)
    #expect(stage.metric("refused_total{reason=\"expired\"}") == "1")
  }

  @Test func aRemovedBundleEndsItsStreamsAndARotationEndsNone() throws {
    var grants = "clusters:\n"
    grants += "  - {name: a, identities: [\"spiffe://example.org/a\"], allow: [{}]}\n"
    grants += "  - {name: p, identities: [\"spiffe://partner.example/p\"], allow: [{}]}\n"
    let stage = try Stage(try #require(PolicyRules.parse(grants, file: "policy.yaml").rules))
    stage.publish([try resource("foo", "x")])
    let (a, p) = (try stage.client("a"), try stage.client("p", of: Stage.partner))
    #expect(stage.run { a.held == ["foo/x"] && p.held == ["foo/x"] })
    try stage.adopt(trusting: [Stage.authority, Stage.partner])
    stage.network.run(for: .seconds(5))
    #expect(a.status == nil && p.status == nil, "a rotation of our own SVID drops nobody")
    try stage.adopt(trusting: [Stage.authority])
    #expect(stage.run(atMost: .seconds(5)) { p.status != nil })
    #expect(p.status?.code == .unauthenticated)
    #expect(a.status == nil)
    #expect(stage.metric("refused_total{reason=\"bundle_removed\"}") == "1")
  }

  // MARK: limits and numbers

  @Test func oneIdentityHasSoManyConnections() throws {
    var limits = Limits()
    limits.clientsPerIdentity = 2
    let stage = try stage(both, limits: limits)
    let clients = try (0..<3).map { _ in try stage.client("a") }
    #expect(stage.run { clients.count { $0.held == ["foo/x"] } == 2 && clients.count { $0.isClosed } == 1 })
    #expect(stage.metric("refused_total{reason=\"limit\"}") == "1")
    let other = try stage.client("b")
    #expect(stage.run { other.held == ["bar/y"] })
    // A place that becomes free is given again.
    for client in clients { client.hangUp() }
    stage.network.run(for: .seconds(2))
    #expect(stage.crossings.census.clients == 1)
    let next = try stage.client("a")
    #expect(stage.run { next.held == ["foo/x"] })
  }

  @Test func pushesAndLaggardsAreMeasured() throws {
    let stage = try stage(both)
    let (a, b) = (try stage.client("a"), try stage.client("b"))
    #expect(stage.run { a.held == ["foo/x"] && b.held == ["bar/y"] })
    stage.network.run(for: .seconds(1))
    #expect(stage.metric("push_seconds_count") == "2")
    a.acknowledges = false
    stage.publish([try resource("foo", "z"), try resource("bar", "y")])
    #expect(stage.run { a.held == ["foo/z"] })
    stage.network.run(for: .seconds(20))
    stage.serving.handle(.beat)
    #expect(stage.metric("clients_lagging") == "1")
    #expect(stage.metric("clients") == "2")
    #expect(stage.metric("push_seconds_count") == "2")
    a.hangUp()
    stage.network.run(for: .seconds(2))
    stage.serving.handle(.beat)
    #expect(stage.metric("clients_lagging") == "0")
  }

  @Test func statusTellsOfEveryStream() throws {
    let stage = try stage(both)
    let a = try stage.client("a")
    #expect(stage.run { a.held == ["foo/x"] })
    stage.network.run(for: .seconds(1))
    _ = stage.crossings.reports.drain()
    stage.serving.handle(.reportClients(ticket: 7))
    let reports = stage.crossings.reports.drain()
    guard case .clients(0, 7, let facts, _)? = reports.last else {
      Issue.record("no answer: \(reports)")
      return
    }
    #expect(facts.map(\.id.description) == ["spiffe://example.org/a"])
    let type = try #require(facts.first?.subscriptions.first)
    #expect(type.typeURL == virtualServiceURL)
    #expect(type.sent != nil && type.sent == type.acknowledged && type.rejections == 0)
  }

  // MARK: drain

  @Test func drainAcceptsNobodyAndEndsStreamsInTime() throws {
    let stage = try stage(both)
    let (a, stranger) = (try stage.client("a"), try stage.client("nobody"))
    #expect(stage.run { a.held == ["foo/x"] && stranger.connection != nil })
    let began = stage.network.now
    stage.serving.handle(.drain(.seconds(5)))
    let late = try stage.client("b")
    stage.network.run(for: .seconds(4))
    #expect(a.status == nil, "a stream may end by itself while draining")
    #expect(late.connection == nil && stranger.isClosed)
    #expect(stage.run { a.status != nil })
    #expect(a.status?.code == .unavailable)
    #expect(try #require(a.endedAt) - began < .seconds(7))
    stage.network.run(for: .seconds(2))
    let hasDrained = stage.crossings.reports.drain().contains {
      if case .drained(0) = $0 { true } else { false }
    }
    #expect(hasDrained)
    #expect(stage.crossings.census.clients == 0)
  }
}
