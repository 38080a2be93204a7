// Goal: each sink belongs to one serve loop and stays there over reloads, every loop hears whether the relay is
// ready, and a question for streams comes back whole, or in time with what there is. Method: a control loop on a
// simulated host, whose serve loops are mailboxes that the test reads and answers.

import Admin
import Foundation
import Policy
import Primitives
import Ring
import SPIFFE
import TestCertificates
import Testing
import Transport
import Trust

@testable import Downstream
@testable import Tier

private final class Side {
  private static let authority = TestAuthority("example.org")
  private static let policy = """
    clusters: [{name: a, identities: ["spiffe://example.org/a"], allow: [{}]}]
    """
  let network = SimulatedNetwork(seed: 3, start: Timestamp(seconds: TestAuthority.epoch))
  private let folder = FileManager.default.temporaryDirectory.appending(path: "side-\(UUID().uuidString)")
  let crossings: ServeCrossings
  let mailboxes: [Mailbox<ServeCommand>]
  var plan: TierPlan
  let control: ControlLoop

  init(loops: Int, sinks: [SinkPlan] = []) throws {
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    let loop = EventLoop(driver: SimulatedDriver(network: network, host: "relay"))
    crossings = ServeCrossings(limits: Limits(), wakeControl: loop.waker)
    mailboxes = (0..<loops).map { _ in Mailbox(capacity: 64, wake: {}) }
    let issued = Side.authority.issue("spiffe://example.org/relay")
    let domain = try TrustDomain("example.org")
    let credentials = Credentials(
      svid: try X509SVID(derChain: issued.chain.flatMap { $0 }, derKey: issued.secret),
      bundles: [domain: try Bundle(trustDomain: domain, anchors: [Side.authority.certificate])], generation: 1
    )
    plan = TierPlan(
      node: "relay", origin: "mesh", identity: .fixed(credentials),
      sources: [SourcePlan(name: "local", kind: .directory(path: folder.path(percentEncoded: false)))])
    plan.sinks = sinks
    control = ControlLoop(
      plan: plan, rules: try #require(PolicyRules.parse(Side.policy, file: "policy.yaml").rules),
      loop: loop,
      workers: .inline, crossings: crossings,
      serving: mailboxes.map { ServeHandle(commands: $0, wake: {}) }, instance: "i", version: "test",
      shards: [],
      seed: 1, report: { _ in })
    loop.onWake = { [weak control] in control?.pickUp() }
  }

  deinit { try? FileManager.default.removeItem(at: folder) }

  func write(_ manifest: String) throws {
    try manifest.write(to: folder.appending(path: "one.yaml"), atomically: true, encoding: .utf8)
  }

  func settle() { network.run(for: .seconds(2)) }

  /// Tickets under which loop `index` was asked for streams since the last time.
  func questions(_ index: Int) -> [UInt64] {
    mailboxes[index].drain().compactMap { command in
      if case .describeStreams(_, _, let ticket) = command { ticket } else { nil }
    }
  }

  /// Answers that loop `index` got: its own ticket, and the node ids of the streams.
  func answers(_ index: Int) -> [(UInt64, [String])] {
    mailboxes[index].drain().compactMap { command in
      if case .streams(let ticket, let streams) = command { (ticket, streams.map(\.nodeID)) } else { nil }
    }
  }
}

@Suite struct ServeSideTests {
  private func sink(_ port: UInt16) throws -> SinkPlan {
    SinkPlan(
      endpoint: Endpoint(host: "10.0.0.1", port: port),
      peer: try SPIFFEPattern(parsing: "spiffe://example.org/pilot"))
  }

  @Test func everySinkHasOneLoopAndKeepsIt() throws {
    let side = try Side(loops: 2, sinks: try (1...3).map { try sink($0) })
    side.control.start()
    #expect(side.crossings.sinks.value.map(\.loop) == [0, 1, 0])
    var next = side.plan
    next.sinks = [try sink(4), try sink(3), try sink(2)]
    side.control.reload(ReloadedFiles(plan: next))
    #expect(
      side.crossings.sinks.value == [
        SinkAssignment(plan: try sink(4), loop: 0), SinkAssignment(plan: try sink(3), loop: 0),
        SinkAssignment(plan: try sink(2), loop: 1),
      ])
    next.sinks = []
    side.control.reload(ReloadedFiles(plan: next))
    #expect(side.crossings.sinks.value.isEmpty)
  }

  @Test func loopsHearWhatReadyzSays() throws {
    let side = try Side(loops: 1)
    #expect(!side.crossings.readiness.value)
    try side.write(
      """
      apiVersion: networking.istio.io/v1
      kind: Gateway
      metadata: {name: g, namespace: foo}
      spec: {selector: {istio: ingress}}
      """)
    side.control.start()
    side.settle()
    #expect(side.crossings.readiness.value && side.control.readiness.ready)
  }

  @Test func aQuestionForStreamsIsPutToEveryLoop() throws {
    let side = try Side(loops: 3)
    let id = try SPIFFEID(parsing: "spiffe://example.org/a")
    side.crossings.reports.push(.wantsStreams(loop: 1, ticket: 7, of: id, try ClientStatusQuery([])))
    side.settle()
    let tickets = (0..<3).flatMap { side.questions($0) }
    #expect(tickets.count == 3 && Set(tickets).count == 1)
    for index in [2, 0, 1] {
      #expect((0..<3).allSatisfy { side.answers($0).isEmpty })
      let stream = StreamDescription(nodeID: "of-\(index)", dialect: "delta", subscriptions: [])
      side.crossings.reports.push(.streams(loop: index, ticket: tickets[0], [stream]))
      side.settle()
    }
    let answers = side.answers(1)
    #expect(answers.map(\.0) == [7] && answers.first?.1 == ["of-2", "of-0", "of-1"])
    #expect(side.answers(0).isEmpty && side.answers(2).isEmpty)
  }

  @Test func aSilentLoopHoldsUpNobodyForLong() throws {
    let side = try Side(loops: 2)
    let id = try SPIFFEID(parsing: "spiffe://example.org/a")
    side.crossings.reports.push(.wantsStreams(loop: 0, ticket: 9, of: id, try ClientStatusQuery([])))
    side.settle()
    let ticket = try #require(side.questions(0).first)
    let stream = StreamDescription(nodeID: "here", dialect: "mcp", subscriptions: [])
    side.crossings.reports.push(.streams(loop: 0, ticket: ticket, [stream]))
    side.settle()
    side.control.beat()
    let answers = side.answers(0)
    #expect(answers.map(\.0) == [9] && answers.first?.1 == ["here"])
    // What comes later is of no use to anybody.
    side.crossings.reports.push(.streams(loop: 1, ticket: ticket, []))
    side.settle()
    #expect(side.answers(0).isEmpty)
  }
}
