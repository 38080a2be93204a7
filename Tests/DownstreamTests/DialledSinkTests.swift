// Goal: a sink that we dial is served what policy grants its verified identity and nothing else, is told apart in
// status and numbers, and comes back after whatever went wrong. Method: one serve loop and a Pilot's half of
// `ResourceSink` on a simulated network with a virtual clock.

import Downstream
import Primitives
import Ring
import SPIFFE
import Snapshots
import TestCertificates
import Testing
import Transport

@Suite struct DialledSinkTests {
  private static let identity = "spiffe://example.org/pilot"

  private func stage(_ grants: [String: String] = ["pilot": "foo", "a": "foo"]) throws -> Stage {
    let stage = try Stage(try rules(grants))
    stage.publish([try resource("foo", "x"), try resource("bar", "y")])
    return stage
  }

  private func sink(
    on stage: Stage, as identity: String = DialledSinkTests.identity, living seconds: Int64? = nil
  ) throws -> StagedSink {
    var plan = CertificatePlan.workload(identity)
    if let seconds { plan.notAfter = TestAuthority.epoch + seconds }
    return try StagedSink(Stage.authority.issue(plan), on: stage.network, host: "pilot")
  }

  private func plan(
    _ stage: Stage, mustBe pattern: String = DialledSinkTests.identity
  ) throws -> SinkPlan {
    let address = stage.network.address(of: "pilot", port: StagedSink.port)
    return SinkPlan(
      endpoint: try #require(Endpoint(address.description)), peer: try SPIFFEPattern(parsing: pattern))
  }

  @Test(arguments: [false, true]) func aSinkIsAClientLikeAnyOther(_ isIncremental: Bool) throws {
    let stage = try stage()
    let sink = try sink(on: stage)
    sink.isIncremental = isIncremental
    stage.push(to: [try plan(stage)])
    #expect(stage.run { sink.held == ["foo/x"] })
    #expect(sink.triggers == 1, "what makes some HTTP/2 stacks listen")
    stage.publish([try resource("foo", "z"), try resource("bar", "y")])
    #expect(stage.run { sink.held == ["foo/z"] })
    stage.network.run(for: .seconds(1))
    #expect(stage.metric("pushes_total{protocol=\"sink\"}") == "2")
    #expect(stage.metric("acks_total") == "2")
    #expect(stage.metric("clients") == "1")
    let facts = try #require(stage.clientFacts().first)
    #expect(facts.id.description == DialledSinkTests.identity && facts.cluster == "pilot")
    #expect(facts.dialect == "sink")
    #expect(facts.subscriptions.map(\.typeURL) == [StagedSink.collection])
    let push = try #require(stage.sinkFacts().first)
    #expect(push.state == .serving && push.lastError == nil)
  }

  @Test func whoIsSomebodyElseGetsNothing() throws {
    let stage = try stage(["other": "foo"])
    let sink = try sink(on: stage, as: "spiffe://example.org/other")
    stage.push(to: [try plan(stage)])
    #expect(stage.run { stage.sinkFacts().first?.state == .failed })
    #expect(sink.calls == 0)
    let error = try #require(stage.sinkFacts().first?.lastError)
    #expect(error.contains("spiffe://example.org/other"), "\(error)")
  }

  @Test func whomPolicyRefusesIsNotServedUntilItIsGranted() throws {
    let stage = try stage(["a": "foo"])
    let sink = try sink(on: stage)
    stage.push(to: [try plan(stage, mustBe: "spiffe://example.org/*")])
    #expect(stage.run { stage.sinkFacts().first?.state == .refused })
    stage.network.run(for: .seconds(60))
    #expect(sink.calls == 0)
    let refusals = try #require(stage.metric("refused_total{reason=\"no_cluster\"}").flatMap { Int($0) })
    #expect(refusals > 1 && refusals < 12, "tried again, at longer and longer intervals: \(refusals)")
    #expect(stage.crossings.census.clients == 0)
    stage.adopt(try rules(["a": "foo", "pilot": "bar"]))
    #expect(stage.run(atMost: .seconds(2)) { sink.held == ["bar/y"] })
  }

  @Test func aGrantThatEndsIsTakenBackAtOnce() throws {
    let stage = try stage()
    let sink = try sink(on: stage)
    stage.push(to: [try plan(stage)])
    #expect(stage.run { sink.held == ["foo/x"] })
    stage.adopt(try rules(["pilot": "baz"]))
    #expect(stage.run(atMost: .seconds(1)) { sink.held.isEmpty })
    #expect(sink.endedCalls == 0)
    stage.adopt(try rules(["a": "foo"]))
    #expect(stage.run(atMost: .seconds(1)) { sink.endedCalls == 1 })
    #expect(stage.run { stage.sinkFacts().first?.state == .refused })
    #expect(stage.crossings.census.clients == 0)
  }

  @Test func aGrantThatCannotBeTakenBackInTimeEndsTheStream() throws {
    let stage = try stage()
    let sink = try sink(on: stage)
    stage.push(to: [try plan(stage)])
    #expect(stage.run { sink.held == ["foo/x"] })
    // Far more than any window or socket takes; then nothing arrives any more.
    stage.network.run(for: .seconds(1))
    let many = try (0..<40).map { try resource("foo", "r\($0)", bytes: 1_000_000) }
    stage.network.cut("relay", "pilot")
    stage.publish(many)
    stage.network.run(for: .milliseconds(200))
    stage.adopt(try rules(["pilot": "baz"]))
    stage.network.run(for: .milliseconds(1500))
    #expect(stage.metric("refused_total{reason=\"policy\"}") == "1")
    #expect(stage.run { stage.sinkFacts().first?.state == .failed })
    #expect(stage.sinkFacts().first?.lastError?.contains("could not be withdrawn in time") == true)
    stage.network.heal("relay", "pilot")
    #expect(stage.run { sink.endedCalls == 1 && sink.calls == 2 && sink.held.isEmpty })
  }

  /// What is open goes on; afterwards status says why nobody is dialled, until there is an SVID again.
  @Test func withAnSVIDThatWasTakenBackNobodyIsDialled() throws {
    let stage = try stage()
    let sink = try sink(on: stage)
    stage.push(to: [try plan(stage)])
    #expect(stage.run { sink.held == ["foo/x"] })
    stage.withdraw()
    stage.network.run(for: .seconds(30))
    #expect(stage.sinkFacts().first?.state == .serving && sink.endedCalls == 0)
    sink.hangUp()
    #expect(
      stage.run {
        stage.sinkFacts().first?.lastError?.contains("the SPIFFE agent took our SVID back") == true
      })
    #expect(stage.sinkFacts().first?.state == .failed)
    stage.network.run(for: .seconds(120))
    #expect(sink.calls == 1)
    try stage.adopt(trusting: [Stage.authority])
    #expect(stage.run(atMost: .seconds(2)) { stage.sinkFacts().first?.state == .serving && sink.calls == 2 })
    #expect(stage.sinkFacts().first?.lastError == nil)
  }

  @Test func anExpiredSinkLosesItsStream() throws {
    let stage = try stage()
    let sink = try sink(on: stage, living: 60)
    stage.push(to: [try plan(stage)])
    #expect(stage.run { sink.held == ["foo/x"] })
    stage.network.run(for: .seconds(50))
    #expect(sink.endedCalls == 0)
    #expect(stage.run(atMost: .seconds(15)) { sink.endedCalls == 1 })
    stage.network.run(for: .seconds(30))
    #expect(sink.calls == 1, "an expired certificate fails the handshake")
  }

  @Test func aRemovedBundleEndsItAndARotationDoesNot() throws {
    var grants = "clusters:\n"
    grants += "  - {name: p, identities: [\"spiffe://partner.example/pilot\"], allow: [{}]}\n"
    let stage = try Stage(try parsedRules(grants))
    stage.publish([try resource("foo", "x")])
    let sink = try StagedSink(
      Stage.partner.issue("spiffe://partner.example/pilot"), on: stage.network, host: "pilot")
    stage.push(to: [try plan(stage, mustBe: "spiffe://partner.example/pilot")])
    #expect(stage.run { sink.held == ["foo/x"] })
    try stage.adopt(trusting: [Stage.authority, Stage.partner])
    stage.network.run(for: .seconds(5))
    #expect(sink.endedCalls == 0)
    try stage.adopt(trusting: [Stage.authority])
    #expect(stage.run(atMost: .seconds(5)) { sink.endedCalls == 1 })
    stage.network.run(for: .seconds(60))
    #expect(sink.calls == 1)
  }

  @Test func aSinkThatHangsUpIsDialledAgain() throws {
    let stage = try stage()
    let sink = try sink(on: stage)
    stage.push(to: [try plan(stage)])
    #expect(stage.run { sink.held == ["foo/x"] })
    sink.hangUp()
    #expect(stage.run { sink.calls == 2 && sink.responses == 2 })
    sink.finish()
    #expect(stage.run { stage.sinkFacts().first?.state == .failed })
    #expect(stage.sinkFacts().first?.lastError?.contains("message too large") == true)
    #expect(stage.run { sink.calls == 3 && sink.responses == 3 })
    stage.network.run(for: .seconds(1))
    #expect(stage.crossings.census.clients == 1)
  }

  @Test func aSinkThatComesLateIsFound() throws {
    let stage = try stage()
    stage.push(to: [try plan(stage)])
    #expect(stage.run { stage.sinkFacts().first?.state == .failed })
    stage.network.run(for: .seconds(300))
    let sink = try sink(on: stage)
    // The longest pause and its jitter.
    #expect(stage.run(atMost: .seconds(37)) { sink.held == ["foo/x"] })
  }

  @Test func aReloadedListKeepsWhatStays() throws {
    let stage = try stage()
    let sink = try sink(on: stage)
    stage.push(to: [try plan(stage)])
    #expect(stage.run { sink.held == ["foo/x"] })
    let nobody = SinkPlan(
      endpoint: Endpoint(host: "10.9.9.9", port: 1),
      peer: try SPIFFEPattern(parsing: "spiffe://example.org/q"))
    stage.push(to: [nobody, try plan(stage)])
    stage.network.run(for: .seconds(5))
    #expect(sink.calls == 1 && sink.endedCalls == 0)
    stage.push(to: [nobody])
    #expect(stage.run(atMost: .seconds(2)) { sink.endedCalls == 1 })
    stage.network.run(for: .seconds(60))
    #expect(sink.calls == 1)
    #expect(stage.crossings.census.clients == 0)
    #expect(stage.metric("clients") == "0")
  }

  @Test func aSinkThatBreaksTheProtocolIsLeftAlone() throws {
    let stage = try stage()
    let sink = try sink(on: stage)
    stage.push(to: [try plan(stage)])
    let a = try stage.client("a")
    #expect(stage.run { sink.held == ["foo/x"] && a.held == ["foo/x"] })
    sink.send([0x12, 0x7F, 0x00])
    #expect(stage.run { sink.endedCalls == 1 })
    #expect(stage.metric("refused_total{reason=\"protocol\"}") == "1")
    #expect(stage.sinkFacts().first?.lastError?.contains("request cannot be read") == true)
    stage.publish([try resource("foo", "z")])
    #expect(stage.run { a.held == ["foo/z"] && sink.held == ["foo/z"] })
    #expect(sink.calls == 2)
  }

  @Test func aDrainLeavesNoSinkBehind() throws {
    let stage = try stage()
    let sink = try sink(on: stage)
    stage.push(to: [try plan(stage)])
    #expect(stage.run { sink.held == ["foo/x"] })
    stage.serving.handle(.drain(.seconds(5)))
    #expect(stage.run { sink.endedCalls == 1 })
    stage.network.run(for: .seconds(60))
    #expect(sink.calls == 1)
    #expect(stage.crossings.census.clients == 0)
    #expect(stage.loop.counters.opened == stage.loop.counters.closed)
  }
}
