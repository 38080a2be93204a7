// Goal: every dialect is served alike from one generation, told apart in numbers and status, and a client that
// breaks its protocol ends its own stream only. Method: one serve loop and staged clients on a simulated network,
// whose messages are generated ones.

import Downstream
import GRPC
import Primitives
import Ring
import Snapshots
import Testing

@Suite struct DialectTests {
  private func stage() throws -> Stage {
    let stage = try Stage(try rules(["a": "foo", "b": "bar"]))
    stage.publish([try resource("foo", "x"), try resource("bar", "y")])
    return stage
  }

  @Test func allDialectsFollowOneHistory() throws {
    let stage = try stage()
    let clients = try StagedDialect.allCases.map { try stage.client("a", dialect: $0) }
    #expect(stage.run { clients.allSatisfy { $0.held == ["foo/x"] } })
    stage.publish([try resource("foo", "x", bytes: 2), try resource("foo", "z"), try resource("bar", "y")])
    #expect(stage.run { clients.allSatisfy { $0.held == ["foo/x", "foo/z"] } })
    stage.publish([try resource("foo", "z"), try resource("bar", "y")])
    #expect(stage.run { clients.allSatisfy { $0.held == ["foo/z"] } })
    #expect(clients.allSatisfy { $0.responses == 3 }, "\(clients.map(\.responses))")
  }

  @Test(arguments: StagedDialect.allCases) func numbersAndStatusNameTheDialect(_ dialect: StagedDialect)
    throws
  {
    let stage = try stage()
    let a = try stage.client("a", dialect: dialect)
    #expect(stage.run { a.held == ["foo/x"] })
    a.refusal = "no, thank you"
    stage.publish([try resource("foo", "z"), try resource("bar", "y")])
    #expect(stage.run { a.held == ["foo/z"] })
    stage.network.run(for: .seconds(1))
    let label = "{protocol=\"\(dialect.names.metric)\"}"
    #expect(stage.metric("pushes_total\(label)") == "2")
    #expect(stage.metric("requests_total\(label)") == "3")
    #expect(stage.metric("acks_total") == "1")
    #expect(stage.metric("nacks_total") == "1")
    let facts = try #require(stage.clientFacts().first)
    #expect(facts.dialect == dialect.names.status)
    let type = try #require(facts.subscriptions.first)
    #expect(type.typeURL == dialect.typeName)
    #expect(type.rejections == 1 && type.lastRejection == "no, thank you")
    #expect(type.sent != nil && type.acknowledged != nil && type.sent != type.acknowledged)
  }

  @Test(arguments: [
    (StagedDialect.delta, "example.org/v1/Nothing"), (.stateOfTheWorld, "core/v1/Pod"),
    (.mcp, "istio/networking/v1alpha3/synthetic/serviceentries"),
    (.mcpIncremental, "istio/policy/v1beta1/handlers"), (.aggregated, "k8s/core/v1/services"),
    (.aggregated, "type.googleapis.com/istio.mixer.v1.config.client.QuotaSpec"),
  ])
  func whatNobodyHasIsAnsweredEmpty(_ dialect: StagedDialect, _ typeName: String) throws {
    let stage = try stage()
    let a = try stage.client("a", dialect: dialect)
    #expect(stage.run { a.held == ["foo/x"] })
    a.ask(for: typeName)
    #expect(stage.run { a.answered.contains(typeName) })
    #expect(a.status == nil)
  }

  @Test(arguments: StagedDialect.allCases) func aBrokenRequestEndsItsStreamOnly(_ dialect: StagedDialect)
    throws
  {
    let stage = try stage()
    let (a, other) = (try stage.client("a", dialect: dialect), try stage.client("a", dialect: dialect))
    #expect(stage.run { a.held == ["foo/x"] && other.held == ["foo/x"] })
    // A length-delimited field that is longer than its message.
    a.send([0x12, 0x7F, 0x00])
    #expect(stage.run { a.status != nil })
    #expect(a.status?.code == .internalError)
    #expect(!a.isClosed, "its connection may carry other streams")
    #expect(stage.metric("refused_total{reason=\"protocol\"}") == "1")
    stage.publish([try resource("foo", "z")])
    #expect(stage.run { other.held == ["foo/z"] })
    a.openStream()
    #expect(stage.run { a.held.contains("foo/z") })
  }

  @Test(arguments: StagedDialect.allCases) func aRequestForNothingIsAnError(_ dialect: StagedDialect) throws {
    let stage = try stage()
    let a = try stage.client("a", dialect: dialect)
    #expect(stage.run { a.held == ["foo/x"] })
    a.send([])
    #expect(stage.run { a.status != nil })
    #expect(a.status?.code == .invalidArgument)
  }

  @Test func nobodyIsServedAsASinkThatDials() throws {
    let stage = try stage()
    let a = try stage.client("a")
    #expect(stage.run { a.held == ["foo/x"] })
    let call = StagedCall("/istio.mcp.v1alpha1.ResourceSink/EstablishResourceStream", on: a, [])
    #expect(stage.run { call.status != nil })
    #expect(call.status?.code == .unimplemented)
  }
}
