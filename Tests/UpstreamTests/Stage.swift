// A subscription and the upstreams it may dial, on a simulated network: virtual time, real TLS and HTTP/2, and
// the serving state machine of this program behind a listener that a test can silence, empty or stop.

import GRPC
import MCP
import Primitives
import Ring
import SPIFFE
import Snapshots
import TLS
import TestCertificates
import Testing
import Transport
import Trust
import Upstream
import XDS

let gateway = TypeName(group: "networking.istio.io", kind: "Gateway")
let sidecar = TypeName(group: "networking.istio.io", kind: "Sidecar")

func resource(_ type: TypeName, _ name: String, _ body: UInt8 = 1) throws -> Resource {
  try Admission.admit(
    type: type,
    draft: ResourceDraft(
      namespace: "foo", name: name, createTime: Timestamp(seconds: 1),
      bodyMessage: Kinds[type]?.bodyMessage ?? "", body: [body], source: "truth"),
    limits: Limits())
}

/// What an upstream speaks, with the serving state machine of one stream.
enum Speech {
  case discovery(ADSServer)
  case classic(MCPSource)

  mutating func update(_ view: View) {
    switch self {
    case .discovery(var server):
      server.update(view)
      self = .discovery(server)
    case .classic(var source):
      source.update(view)
      self = .classic(source)
    }
  }

  mutating func receive(_ message: [UInt8], now: Instant) throws {
    switch self {
    case .discovery(var server):
      try server.receive(message, now: now)
      self = .discovery(server)
    case .classic(var source):
      try source.receive(message, now: now)
      self = .classic(source)
    }
  }

  mutating func nextResponse(now: Instant) -> StreamResponse? {
    switch self {
    case .discovery(var server):
      defer { self = .discovery(server) }
      return try? server.nextResponse(now: now)
    case .classic(var source):
      defer { self = .classic(source) }
      return try? source.nextResponse(now: now)
    }
  }
}

/// One upstream host.
final class UpstreamHost: ListenerOwner, CallHandler {
  static let port: UInt16 = 15010
  let loop: EventLoop
  private var context: TLSContext
  private var listener: Listener?
  private let memory = LoopMemory()
  private let limits = Limits()
  private let dialect: ADSDialect
  private let method: MCPMethod?
  private let address: SocketAddress
  private var streams: [(call: Call, server: Speech)] = []
  private var view = View.nothing
  private var sequence: UInt64
  private(set) var connections: [Connection] = []
  /// Streams opened so far.
  private(set) var opened = 0
  /// Requests so far, as they came.
  private(set) var requests: [[UInt8]] = []
  /// Accepts streams and answers nothing.
  var isMute = false
  /// Ends every stream with this.
  var refusal: GRPCStatus?
  /// Collections it does not have: asked for one, it ends the stream.
  var unsupported: Set<String> = []

  /// `method`: speaks the classic protocol.
  init(
    _ name: String, on network: SimulatedNetwork, identity: TestIdentity, dialect: ADSDialect = .delta,
    method: MCPMethod? = nil, sequence: UInt64 = 1
  ) throws {
    loop = EventLoop(driver: SimulatedDriver(network: network, host: name))
    context = try TLSContext(
      role: .server, chain: identity.chain, key: PrivateKey(der: identity.secret), verifier: { _ in .accept })
    self.dialect = dialect
    self.method = method
    self.sequence = sequence
    address = network.address(of: name, port: UpstreamHost.port)
    try start()
  }

  /// Shows this to whoever dials from now on.
  func renew(_ identity: TestIdentity) throws {
    context = try TLSContext(
      role: .server, chain: identity.chain, key: PrivateKey(der: identity.secret), verifier: { _ in .accept })
  }

  func start() throws {
    listener = try Listener(address: address, loop: loop, limits: limits, memory: memory, owner: self)
  }

  /// Serves this from now on.
  func serve(_ content: [TypeName: [Resource]], granting grant: String? = nil) {
    sequence += 1
    let collections = content.mapValues { Collection($0) }
    let position = Position(
      origin: "mesh", sequence: sequence, published: Timestamp(seconds: Int64(sequence)),
      path: [PathElement(instance: "above", node: "above")])
    view = View(
      number: sequence, collections: collections,
      snapshot: Snapshot(collections: collections, pending: [], isComplete: true, position: position),
      grant: grant.map { GrantNotice.collection($0) })
    for index in streams.indices {
      streams[index].server.update(view)
      pump(index)
    }
  }

  /// Says the whole of a type as a foreign server would, which tells nothing of where it stands.
  func say(_ type: TypeName, _ resources: [Resource]) {
    sequence += 1
    var head = ProtobufWriter()
    head.string(1, "v\(sequence)")
    head.string(4, Kinds[type]?.typeURL.text ?? "")
    head.string(5, "n\(sequence)")
    for stream in streams { stream.call.send(head: head.bytes, body: Collection(resources).body(.inner)) }
  }

  func end(_ status: GRPCStatus) { for connection in connections { connection.finish(status) } }

  func stop() {
    listener?.stop()
    end(GRPCStatus(.unavailable, "stopped"))
  }

  private func pump(_ index: Int) {
    guard !isMute else { return }
    while let response = streams[index].server.nextResponse(now: loop.now) {
      streams[index].call.send(head: response.head, body: response.body)
    }
  }

  func securityForNewConnection(on listener: Listener) -> Connection.Security? {
    .tls(context, serverName: nil)
  }
  func listener(_ listener: Listener, accepted connection: Connection) { connections.append(connection) }
  func connectionVerified(_ connection: Connection) {}
  func connectionReady(_ connection: Connection) {}
  func connection(_ connection: Connection, opened call: Call, head: RequestHead) -> (any CallHandler)? {
    guard head.path == method?.path ?? dialect.path else { return nil }
    opened += 1
    if let refusal {
      call.finish(refusal)
      return self
    }
    call.accept()
    var server =
      method.map { Speech.classic(MCPSource(method: $0, limits: limits)) }
      ?? .discovery(ADSServer(dialect: dialect, limits: limits))
    server.update(view)
    streams.append((call, server))
    return self
  }
  func connectionClosed(_ connection: Connection, _ reason: ConnectionEnd) {
    connections.removeAll { $0 === connection }
  }

  func callAccepted(_ call: Call) {}
  func callHalfClosed(_ call: Call) {}
  func callDrained(_ call: Call) {}
  func callEnded(_ call: Call, _ status: GRPCStatus) { streams.removeAll { $0.call === call } }
  func call(_ call: Call, received message: [UInt8]) {
    requests.append(message)
    guard let index = streams.firstIndex(where: { $0.call === call }) else { return }
    if let name = unsupported.sorted().first(where: { message.containsText($0) }) {
      return call.finish(GRPCStatus(.invalidArgument, "unsupported collection \"\(name)\""))
    }
    do {
      try streams[index].server.receive(message, now: loop.now)
    } catch {
      return call.finish(GRPCStatus(.invalidArgument, "\(error)"))
    }
    pump(index)
  }
}

/// The relay's side.
final class Stage: SubscriptionOwner {
  static let authority = TestAuthority("example.org")
  static let other = TestAuthority("other.example")
  static let mesh = TestAuthority("mesh.example")

  let network = SimulatedNetwork(seed: 3, start: Timestamp(seconds: TestAuthority.epoch))
  let loop: EventLoop
  private(set) var subscription: Subscription?
  private(set) var held: [TypeName: Set<String>] = [:]
  private(set) var isComplete = false
  /// What the upstream says it grants, in order.
  private(set) var grants: [String?] = []
  /// Every state in order, with its time.
  private(set) var states: [(at: Instant, health: Subscription.Health)] = []
  private var generation: UInt64 = 0
  /// Until when our own SVIDs last that nobody says it of; seconds from the start of time, nil: as usual.
  var ownLife: Int64?

  init() { loop = EventLoop(driver: SimulatedDriver(network: network, host: "relay")) }

  func upstream(
    _ name: String, as id: String = "spiffe://example.org/central", living seconds: Int64? = nil,
    dialect: ADSDialect = .delta, method: MCPMethod? = nil
  ) throws -> UpstreamHost {
    var plan = CertificatePlan.workload(id)
    if let seconds { plan.notAfter = TestAuthority.epoch + seconds }
    let authority = id.hasPrefix("spiffe://other") ? Stage.other : Stage.authority
    return try UpstreamHost(
      name, on: network, identity: authority.issue(plan), dialect: dialect, method: method)
  }

  /// A server without an SVID: a DNS name, vouched for by an authority of its own.
  func host(_ name: String, dnsName: String) throws -> UpstreamHost {
    var plan = CertificatePlan.workload("spiffe://example.org/unused")
    plan.subjectAlternativeName = "DNS:\(dnsName)"
    plan.extendedKeyUsage = "serverAuth"
    return try UpstreamHost(
      name, on: network, identity: Stage.mesh.issue(plan), dialect: .stateOfTheWorld)
  }

  /// Subscribes to gateways and sidecars of these hosts, in order of preference.
  func subscribe(
    _ hosts: [String], dialect: ADSDialect = .delta, peer: String = "spiffe://example.org/central"
  ) throws {
    try subscribe(
      hosts, as: .workload(try SPIFFEPattern(parsing: peer)),
      follower: .discovery(subscriber(dialect), dialect))
  }

  /// The same by the classic protocol, of kinds that it has.
  func subscribe(classic method: MCPMethod, _ hosts: [String], to kinds: [TypeName] = [gateway, sidecar])
    throws
  {
    let known = Kinds.all + Kinds.classic
    let sink = MCPSink(
      .init(
        method: method, isIncremental: true, kinds: known.filter { kinds.contains($0.type) },
        node: SinkNode(id: "relay"), source: "central", upstream: hosts[0], limits: Limits()))
    try subscribe(
      hosts, as: .workload(try SPIFFEPattern(parsing: "spiffe://example.org/central")),
      follower: .classic(sink, method))
  }

  func subscriber(_ dialect: ADSDialect) -> ADSSubscriber {
    ADSSubscriber(
      .init(
        dialect: dialect, types: [gateway, sidecar].compactMap { Kinds[$0]?.typeURL },
        node: Node(id: "relay"), source: "central", upstream: "", instance: "me", limits: Limits()))
  }

  func subscribe(
    _ hosts: [String], as server: ExpectedServer, follower: Follower, refresh: Duration? = nil
  ) throws {
    let endpoints = try hosts.map {
      try #require(Endpoint(network.address(of: $0, port: UpstreamHost.port).description))
    }
    let settings = SubscriptionSettings(
      source: "central", endpoints: endpoints, server: server, minimumTLS: .tls13, refresh: refresh)
    subscription = Subscription(
      settings, follower: follower, loop: loop, limits: Limits(), memory: LoopMemory(),
      resolver: Resolver(worker: InlineWorker(), limits: Limits(), wake: {}), seed: 5, owner: self)
    try adopt(trusting: [Stage.authority, Stage.other])
  }

  /// `seconds`: until when our own SVID lasts, from the start of time.
  func adopt(
    trusting authorities: [TestAuthority], as id: String = "spiffe://example.org/edge",
    living seconds: Int64? = nil
  ) throws {
    var plan = CertificatePlan.workload(id)
    if let seconds = seconds ?? ownLife { plan.notAfter = TestAuthority.epoch + seconds }
    let own = Stage.authority.issue(plan)
    var bundles: [TrustDomain: Bundle] = [:]
    for authority in authorities {
      let domain = try TrustDomain(authority.trustDomain)
      bundles[domain] = try Bundle(trustDomain: domain, anchors: [authority.certificate])
    }
    generation += 1
    subscription?.adopt(
      Credentials(
        svid: try X509SVID(derChain: own.chain.flatMap { $0 }, derKey: own.secret), bundles: bundles,
        generation: generation))
  }

  @discardableResult
  func run(atMost time: Duration = .seconds(10), until done: () -> Bool) -> Bool {
    network.run(atMost: time, until: done)
  }

  /// What status would say of it; empty while it follows.
  var trouble: String {
    switch subscription?.health {
    case .stale(let reason)?, .failed(let reason)?, .behind(let reason)?: reason
    case .connecting(let reason)?: reason ?? ""
    case .following?, nil: ""
    }
  }

  var isFailed: Bool { if case .failed? = subscription?.health { true } else { false } }

  var isFollowing: Bool { subscription?.health == .following }

  func subscription(_ subscription: Subscription, received updates: [SourceUpdate]) {
    for update in updates {
      switch update.kind {
      case .replace(let type, let resources): held[type] = Set(resources.map(\.wireName))
      case .change(let type, let upserts, let removals):
        held[type, default: []].formUnion(upserts.map(\.wireName))
        held[type, default: []].subtract(removals)
      case .complete: isComplete = true
      }
    }
  }

  func subscription(_ subscription: Subscription, became state: Subscription.Health) {
    states.append((loop.now, state))
  }

  func subscription(_ subscription: Subscription, wasGranted text: String?) { grants.append(text) }
}

extension [UInt8] {
  func containsText(_ text: String) -> Bool { String(decoding: self, as: UTF8.self).contains(text) }
}
