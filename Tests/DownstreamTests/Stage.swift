// A serve loop and its clients on a simulated network: virtual time, real TLS, HTTP/2 and discovery messages.
// What a publisher and an identity would give the loop, a test gives it.

import Audit
import Downstream
import Gates
import Metrics
import Policy
import Primitives
import Ring
import SPIFFE
import Snapshots
import TLS
import TestCertificates
import Testing
import Trust

let virtualService = TypeName(group: "networking.istio.io", kind: "VirtualService")
let virtualServiceURL = "networking.istio.io/v1/VirtualService"

/// `NAMESPACE/NAME`, of the bytes given.
func resource(_ namespace: String, _ name: String, bytes: Int = 1) throws -> Resource {
  try Admission.admit(
    type: virtualService,
    draft: ResourceDraft(
      namespace: namespace, name: name, createTime: Timestamp(seconds: 1),
      bodyMessage: Kinds[virtualService]?.bodyMessage ?? "", body: [UInt8](repeating: 7, count: bytes),
      source: "test"),
    limits: Limits())
}

/// Cluster names and the namespaces they may see.
func rules(_ grants: [String: String]) throws -> PolicyRules {
  var text = grants.isEmpty ? "clusters: []\n" : "clusters:\n"
  for (cluster, namespace) in grants.sorted(by: { $0.key < $1.key }) {
    text += "  - name: \(cluster)\n    identities: [\"spiffe://example.org/\(cluster)\"]\n"
    text += "    allow: [{namespaces: [\(namespace)]}]\n"
  }
  return try parsedRules(text)
}

func parsedRules(_ text: String) throws -> PolicyRules {
  let parsed = PolicyRules.parse(text, file: "policy.yaml")
  return try #require(parsed.rules, "\(parsed.problems)")
}

final class Stage {
  static let authority = TestAuthority("example.org")
  static let partner = TestAuthority("partner.example")

  let network = SimulatedNetwork(seed: 1, start: Timestamp(seconds: TestAuthority.epoch))
  let crossings: ServeCrossings
  let metrics = MetricShard()
  let loop: EventLoop
  let serving: ServeLoop
  private var merge = Merge(sources: [MergeSource(name: "test", listsEverything: true)])
  private var publisher: Publisher
  private var sequence: UInt64 = 0
  private var credentialsGeneration: UInt64 = 0
  private var snapshot = Snapshot.nothing

  init(_ rules: PolicyRules, limits: Limits = Limits(), audit: AuditLane? = nil) throws {
    loop = EventLoop(driver: SimulatedDriver(network: network, host: "relay"))
    crossings = ServeCrossings(limits: limits, wakeControl: {})
    serving = ServeLoop(
      index: 0, loop: loop, resolver: InlineWorker(),
      crossings: crossings,
      metrics: metrics, audit: audit, seed: 1)
    publisher = Publisher(rules: rules, brake: .off)
    try serving.listen(at: network.address(of: "relay", port: 15010))
    loop.onWake = { [serving] in serving.pickUp() }
    try adopt(trusting: [Stage.authority, Stage.partner])
    crossings.generation.publish(publisher.replace(rules: rules).generation)
    loop.waker()
  }

  // MARK: what control does

  func adopt(trusting authorities: [TestAuthority]) throws {
    let own = Stage.authority.issue("spiffe://example.org/relay")
    var bundles: [TrustDomain: Bundle] = [:]
    for authority in authorities {
      let domain = try TrustDomain(authority.trustDomain)
      bundles[domain] = try Bundle(trustDomain: domain, anchors: [authority.certificate])
    }
    credentialsGeneration += 1
    crossings.credentials.publish(
      Credentials(
        svid: try X509SVID(derChain: own.chain.flatMap { $0 }, derKey: own.secret), bundles: bundles,
        generation: credentialsGeneration))
    loop.waker()
  }

  /// The agent takes the SVID back.
  func withdraw() {
    guard let now = crossings.credentials.value else { return }
    credentialsGeneration += 1
    crossings.credentials.publish(
      Credentials(
        svid: now.svid, bundles: now.bundles, generation: credentialsGeneration,
        withdrawnAt: network.wallClock))
    loop.waker()
  }

  func adopt(_ rules: PolicyRules) {
    crossings.generation.publish(publisher.replace(rules: rules).generation)
    loop.waker()
  }

  /// `released`: names that go at once, because an operator let them go; what else goes, goes by its source.
  func publish(_ resources: [Resource], released: [String] = []) {
    sequence += 1
    var change = Merge.Change()
    if !released.isEmpty {
      change = merge.apply(
        SourceUpdate(
          source: "test", kind: .change(virtualService, upserts: [], removals: released), removals: .released)
      )
    }
    let replacement = merge.apply(SourceUpdate(source: "test", kind: .replace(virtualService, resources)))
    change.types += replacement.types
    let completion = merge.apply(SourceUpdate(source: "test", kind: .complete))
    change.types += completion.types
    change.readinessChanged = change.readinessChanged || completion.readinessChanged
    let position = Position(
      origin: "o", sequence: sequence, published: network.wallClock,
      path: [PathElement(instance: "i", node: "n")])
    snapshot = merge.snapshot(at: position)
    crossings.generation.publish(
      publisher.apply(change, snapshot: snapshot, now: network.wallClock).generation)
    loop.waker()
  }

  /// What an operator decides. False when it cannot be carried out.
  func perform(_ command: GateCommand) -> Bool {
    do throws(GateError) {
      let publication = try publisher.perform(command, snapshot: snapshot, now: network.wallClock)
      crossings.generation.publish(publication.generation)
    } catch { return false }
    loop.waker()
    return true
  }

  // MARK: clients

  /// A cluster of `example.org` unless said otherwise; asks for VirtualServices at once.
  func client(
    _ name: String, of authority: TestAuthority = Stage.authority, living seconds: Int64? = nil,
    dialect: StagedDialect = .delta, reads: Bool = true
  ) throws -> StagedClient {
    var plan = CertificatePlan.workload("spiffe://\(authority.trustDomain)/\(name)")
    if let seconds { plan.notAfter = TestAuthority.epoch + seconds }
    let client = try StagedClient(
      authority.issue(plan), on: network, host: name, dialect: dialect, reads: reads)
    client.start()
    return client
  }

  /// Has the loop dial these, and nobody else.
  func push(to plans: [SinkPlan]) {
    crossings.sinks.publish(plans.map { SinkAssignment(plan: $0, loop: 0) })
    loop.waker()
  }

  func publish(isReady: Bool) {
    crossings.readiness.publish(isReady)
    loop.waker()
  }

  /// What status would show of the sinks now.
  func sinkFacts() -> [SinkFacts] {
    serving.handle(.reportClients(ticket: 1))
    for report in crossings.reports.drain() {
      if case .clients(_, _, _, let sinks) = report { return sinks }
    }
    return []
  }

  /// Answers questions for streams as the control loop does, with what one loop knows.
  func answerStreamQuestions() {
    for report in crossings.reports.drain() {
      switch report {
      case .wantsStreams(_, let ticket, let id, let query):
        serving.handle(.describeStreams(of: id, query, ticket: ticket))
        answerStreamQuestions()
      case .streams(_, let ticket, let streams): serving.handle(.streams(ticket: ticket, streams))
      default: break
      }
    }
  }

  /// What status would show of the clients now.
  func clientFacts() -> [ClientFacts] {
    serving.handle(.reportClients(ticket: 1))
    for report in crossings.reports.drain() {
      if case .clients(_, _, let facts, _) = report { return facts }
    }
    return []
  }

  /// Runs virtual time until `done`; false when it did not come about.
  @discardableResult
  func run(atMost time: Duration = .seconds(30), until done: () -> Bool) -> Bool {
    network.run(atMost: time, until: done)
  }

  var exposition: String {
    String(
      decoding: Exposition(shards: [metrics], facts: RelayFacts(version: "test"), knownTypes: [String]())
        .text,
      as: UTF8.self)
  }

  /// The value of a series as `/metrics` shows it.
  func metric(_ series: String) -> String? {
    exposition.split(separator: "\n").first { $0.hasPrefix("meshrelay_\(series) ") }
      .flatMap { $0.split(separator: " ").last.map(String.init) }
  }
}
