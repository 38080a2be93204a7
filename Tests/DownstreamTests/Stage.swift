// A serve loop and its clients on a simulated network: virtual time, real TLS, HTTP/2 and discovery messages.
// What a publisher and an identity would give the loop, a test gives it.

import Downstream
import GRPC
import Gates
import Metrics
import Policy
import Primitives
import Protos
import Ring
import SPIFFE
import Snapshots
import SwiftProtobuf
import TLS
import TestCertificates
import Testing
import Transport
import Trust
import XDS

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

  init(_ rules: PolicyRules, limits: Limits = Limits()) throws {
    loop = EventLoop(driver: SimulatedDriver(network: network, host: "relay"))
    crossings = ServeCrossings(limits: limits, wakeControl: {})
    serving = ServeLoop(
      index: 0, loop: loop, limits: limits, minimumTLS: .tls13, crossings: crossings, metrics: metrics,
      seed: 1)
    publisher = Publisher(rules: rules)
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
        svid: try X509SVID(derChain: own.chain.flatMap { $0 }, derKey: own.key), bundles: bundles,
        generation: credentialsGeneration))
    loop.waker()
  }

  func adopt(_ rules: PolicyRules) {
    crossings.generation.publish(publisher.replace(rules: rules).generation)
    loop.waker()
  }

  func publish(_ resources: [Resource]) {
    sequence += 1
    var change = merge.apply(SourceUpdate(source: "test", kind: .replace(virtualService, resources)))
    let completion = merge.apply(SourceUpdate(source: "test", kind: .complete))
    change.types += completion.types
    change.readinessChanged = change.readinessChanged || completion.readinessChanged
    let position = Position(
      origin: "o", sequence: sequence, published: network.wallClock,
      path: [PathElement(instance: "i", node: "n")])
    crossings.generation.publish(publisher.apply(change, snapshot: merge.snapshot(at: position)).generation)
    loop.waker()
  }

  // MARK: clients

  /// A cluster of `example.org` unless said otherwise; asks for VirtualServices at once.
  func client(
    _ name: String, of authority: TestAuthority = Stage.authority, living seconds: Int64? = nil,
    dialect: ADSDialect = .delta, reads: Bool = true
  ) throws -> StagedClient {
    var plan = CertificatePlan.workload("spiffe://\(authority.trustDomain)/\(name)")
    if let seconds { plan.notAfter = TestAuthority.epoch + seconds }
    let client = try StagedClient(
      authority.issue(plan), on: network, host: name, dialect: dialect, reads: reads)
    client.start()
    return client
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

/// A control plane with one stream.
final class StagedClient: DialerOwner, CallHandler {
  private let network: SimulatedNetwork
  private let loop: EventLoop
  private let dial: Dial
  private let dialect: ADSDialect
  private(set) var connection: Connection?
  private(set) var call: Call?
  private(set) var held: Set<String> = []
  private(set) var responses = 0
  private(set) var status: GRPCStatus?
  private(set) var dialReasons: [String]?
  private(set) var isClosed = false
  /// When its stream ended.
  private(set) var endedAt: Instant?
  var acknowledges = true

  init(
    _ identity: TestIdentity, on network: SimulatedNetwork, host: String, dialect: ADSDialect, reads: Bool
  ) throws {
    self.network = network
    self.dialect = dialect
    loop = EventLoop(driver: SimulatedDriver(network: network, host: host))
    let context = try TLSContext(
      role: .client, chain: identity.chain, key: identity.key, verifier: { _ in .accept })
    let relay = network.address(of: "relay", port: 15010)
    dial = Dial(
      try #require(Endpoint(relay.description)), security: .tls(context, serverName: nil),
      resolver: Resolver(worker: InlineWorker(), limits: Limits(), wake: {}), loop: loop, limits: Limits(),
      memory: LoopMemory())
  }

  func start() { dial.start(self) }

  func hangUp() { dial.cancel() }

  func connectionVerified(_ connection: Connection) {}
  func connectionReady(_ connection: Connection) {
    self.connection = connection
    openStream()
  }

  /// Opens a stream and asks for VirtualServices.
  func openStream() {
    status = nil
    call = connection?.open(path: dialect.path, authority: "relay", self)
    var request = Envoy_Service_Discovery_V3_DeltaDiscoveryRequest()
    request.typeURL = virtualServiceURL
    var whole = Envoy_Service_Discovery_V3_DiscoveryRequest()
    whole.typeURL = virtualServiceURL
    send(dialect == .delta ? try? request.serializedBytes() : try? whole.serializedBytes())
  }

  private func send(_ bytes: [UInt8]?) { if let bytes { call?.send(head: bytes) } }

  func connection(_ connection: Connection, opened call: Call, head: RequestHead) -> (any CallHandler)? {
    nil
  }
  func connectionClosed(_ connection: Connection, _ reason: ConnectionEnd) { isClosed = true }
  func dialFailed(_ endpoint: Endpoint, _ reasons: [String]) { dialReasons = reasons }

  func callAccepted(_ call: Call) {}
  func callHalfClosed(_ call: Call) {}
  func callDrained(_ call: Call) {}
  func callEnded(_ call: Call, _ status: GRPCStatus) {
    self.status = status
    endedAt = loop.now
  }

  func call(_ call: Call, received message: [UInt8]) {
    responses += 1
    switch dialect {
    case .delta: receivedChange(message)
    case .stateOfTheWorld: receivedState(message)
    }
  }

  private func receivedChange(_ message: [UInt8]) {
    guard let response = try? Envoy_Service_Discovery_V3_DeltaDiscoveryResponse(serializedBytes: message)
    else { return }
    held.formUnion(response.resources.map(\.name))
    held.subtract(response.removedResources)
    guard acknowledges else { return }
    var answer = Envoy_Service_Discovery_V3_DeltaDiscoveryRequest()
    answer.typeURL = response.typeURL
    answer.responseNonce = response.nonce
    send(try? answer.serializedBytes())
  }

  private func receivedState(_ message: [UInt8]) {
    guard let response = try? Envoy_Service_Discovery_V3_DiscoveryResponse(serializedBytes: message)
    else { return }
    held = Set(
      response.resources.compactMap {
        try? Istio_Mcp_V1alpha1_Resource(serializedBytes: $0.value).metadata.name
      })
    guard acknowledges else { return }
    var answer = Envoy_Service_Discovery_V3_DiscoveryRequest()
    answer.typeURL = response.typeURL
    answer.versionInfo = response.versionInfo
    answer.responseNonce = response.nonce
    send(try? answer.serializedBytes())
  }
}
