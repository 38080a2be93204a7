// One serve loop: its listeners, its clients, and the newest generation they are served from.
//
// Lives on one thread. It only looks up: which class an identity belongs to and what that class sees was
// computed before the generation was published. When rules or trust shrink, live connections are judged
// again, not only new ones.

public import Audit
public import GRPC
import Gates
public import Metrics
import Policy
public import Primitives
public import Ring
import SPIFFE
import Snapshots
public import TLS
public import Transport
import Trust

public final class ServeLoop: ListenerOwner {
  public let index: Int
  public let loop: EventLoop
  public private(set) var limits: Limits
  private let kind: ListenerKind
  let memory = LoopMemory()
  let resolver: Resolver
  let crossings: ServeCrossings
  private let metrics: MetricShard
  let trust: ServerTrust
  /// Nil: no audit is kept.
  let scribe: Scribe?
  var generator: SeededGenerator
  private var listeners: [Listener] = []
  /// Between accept and a verified peer.
  private var strangers = Roster<Connection>()
  private(set) var clients = Roster<Client>()
  var seats = Seats()
  /// What was announced and is not written yet.
  var announcement: Announcement?
  /// Verified, but granted nothing.
  private var refusals = Roster<RefusedPeer>()
  private var holds = 0
  private var refusalMeter = RefusalMeter()
  private(set) var generation: Generation?
  /// What `/readyz` says.
  private(set) var isReady = false
  var sinks: [DialledSink] = []
  /// Questions to all loops that wait for their answers.
  var streamQuestions: [UInt64: ([StreamDescription]?) -> Void] = [:]
  var nextStreamTicket: UInt64 = 0
  /// Trust domains of upstreams, which may connect although policy does not name them.
  private var sourceTrustDomains: Set<TrustDomain> = []
  /// Clients that were late with an answer at the last beat.
  private var lagging = 0
  private(set) var draining = false

  /// `resolver`: the worker that looks up the names of sinks.
  public init(
    index: Int, loop: EventLoop, kind: ListenerKind = .mutualTLS,
    resolver: any Worker, crossings: ServeCrossings, metrics: MetricShard, audit: AuditLane? = nil,
    seed: UInt64
  ) {
    self.index = index
    self.loop = loop
    limits = crossings.terms.value.limits
    self.kind = kind
    self.resolver = Resolver(worker: resolver, limits: limits, wake: loop.waker)
    self.crossings = crossings
    self.metrics = metrics
    scribe = audit.map { Scribe($0, loop: loop) }
    generator = SeededGenerator(seed: seed)
    trust = ServerTrust(
      loop: loop, minimum: crossings.terms.value.minimumTLS, ticketKeys: { crossings.ticketKeys.value })
    scribe?.onLoss = { [unowned self] kept in denyAnnounced(after: kept) }
  }

  // MARK: accepting

  /// Serves `descriptor`, a bound and listening socket that belongs to this loop from now on.
  public func listen(descriptor: Int32) throws(RingError) {
    listeners.append(
      try Listener(descriptor: descriptor, loop: loop, limits: limits, memory: memory, owner: self))
  }

  /// Binds an address on this loop alone: the simulator's way.
  public func listen(at address: SocketAddress) throws(RingError) {
    listeners.append(
      try Listener(address: address, loop: loop, limits: limits, memory: memory, owner: self))
  }

  public func securityForNewConnection(on listener: Listener) -> Connection.Security? {
    guard !draining else { return nil }
    return switch kind {
    case .mutualTLS: trust.context(for: listener.name).map { .tls($0, serverName: nil) }
    case .loopback: .plaintext
    }
  }

  public func listener(_ listener: Listener, accepted connection: Connection) {
    strangers.insert(connection, for: connection)
  }

  public func connectionVerified(_ connection: Connection) {
    strangers.remove(connection)
    if case .loopback(let grant, let host) = kind {
      let place = generation?.grant(ofCluster: grant.cluster) ?? grant
      enter(connection, .local(trust.credentials?.svid.id ?? host), place)
      return
    }
    metrics.add(to: .handshakes(.ok))
    if connection.isResumed { metrics.add(to: .resumptions) }
    do throws(VerificationFailure) {
      admit(connection, try trust.admit(connection.peerChain))
    } catch {
      // Accepted in the handshake and not any more: trust changed within these milliseconds.
      note(.handshakeFailed(address: connection.peer.description, reason: error.description))
      connection.close(.closedHere(GRPCStatus(.unauthenticated, error.what)))
    }
  }

  private func admit(_ connection: Connection, _ peer: VerifiedPeer) {
    switch decision(for: peer.id) {
    case .granted(let grant):
      enter(connection, .verified(peer), grant)
    case .refused(let reason):
      refused(reason.metric)
      note(.refused(peer.id, address: connection.peer.description, reason: reason.explanation))
      // Beyond the limit a connection goes with its first refusal, so that their number stays bounded.
      let isLasting = refusals.count < limits.refusedAtOnce
      refusals.insert(
        RefusedPeer(connection: connection, id: peer.id, reason: reason.explanation, isLasting: isLasting),
        for: connection)
    }
  }

  /// Nil: there are too many clients, and the connection is closed.
  @discardableResult
  func enter(
    _ connection: Connection, _ peer: Caller, _ grant: Generation.Grant, sink: DialledSink? = nil
  ) -> Client? {
    // Nobody is let in whose coming cannot be recorded.
    guard scribe?.isFull != true else {
      refused(.limit)
      connection.close(.closedHere(GRPCStatus(.unavailable, "the audit log cannot be written")))
      return nil
    }
    guard crossings.census.enter(peer.id) else {
      refused(.limit)
      note(.refused(peer.id, address: connection.peer.description, reason: "too many clients"))
      connection.close(.closedHere(GRPCStatus(.resourceExhausted, "too many clients")))
      return nil
    }
    let client = Client(connection, peer: peer, grant: grant, serving: self, sink: sink)
    clients.insert(client, for: connection)
    metrics.change(.clients, by: 1)
    note(.connected(peer.id, cluster: grant.cluster, address: connection.peer.description))
    return client
  }

  func decision(for id: SPIFFEID) -> Generation.Decision {
    generation?.decision(for: id) ?? .refused(.noCluster)
  }

  // MARK: serving

  public func connectionReady(_ connection: Connection) {}

  public func connection(_ connection: Connection, opened call: Call, head: RequestHead)
    -> (any CallHandler)?
  {
    if let refusal = refusals[connection] { return refuse(call, refusal) }
    guard let client = clients[connection],
      let method = ServiceTable.method(at: head.path)
    else { return nil }
    return client.open(call, method)
  }

  /// The newest view of a grant; nil before the first generation.
  func view(of grant: Generation.Grant) -> View? { generation?.views[grant.classIndex] }

  func delivering(_ response: StreamResponse, _ dialect: Dialect) {
    metrics.add(to: .pushes(dialect.metric))
    metrics.add(response.byteCount, to: .pushedBytes)
  }

  func pushed(within time: Duration) { metrics.record(time, in: .push) }

  /// A handshake is over; nil: well.
  func handshook(_ end: ConnectionEnd?) {
    let result = end.map { Metrics.HandshakeResult(rawValue: $0.handshakeResult) ?? .protocol }
    metrics.add(to: .handshakes(result ?? .ok))
  }

  func requested(_ dialect: Dialect) { metrics.add(to: .requests(dialect.metric)) }

  func noted(_ event: StreamEvent, _ dialect: Dialect, of client: Client) {
    switch event {
    case .nodeIdentified, .stale:
      break
    case .subscribed(let typeURL):
      guard let scribe else { break }
      var record = AuditRecord(
        .subscribe, spiffeID: client.peer.id, cluster: client.grant.cluster, type: typeURL)
      record.dialect = dialect.name
      scribe.record(record)
    case .acknowledged(let typeURL, let version):
      metrics.add(to: .acks)
      if let scribe { scribe.acknowledged(typeURL, version, by: client.name(for: scribe)) }
    case .rejected(let typeURL, let version, let message):
      metrics.add(to: .nacks)
      note(
        .rejected(
          client.peer.id, cluster: client.grant.cluster, typeURL: typeURL, version: version, message: message)
      )
    }
  }

  // MARK: refusing

  private func refuse(_ call: Call, _ peer: RefusedPeer) -> (any CallHandler)? {
    let mayHold = peer.isLasting && holds < limits.refusedAtOnce
    if mayHold { holds += 1 }
    let hold = mayHold ? generator.jittered(limits.refuseHold * 1.5, spread: 1.0 / 3) : .zero
    return RefusedCall(call, peer, hold: hold, loop: loop) { [weak self] in
      if mayHold { self?.holds -= 1 }
    }
  }

  func refused(_ reason: RefusalReason) { metrics.add(to: .refused(reason)) }

  // MARK: crossings

  /// Call when woken: picks up what was published since.
  public func pickUp() {
    loop.preconditionOnLoop()
    adopt(crossings.terms.value)
    var mustJudge = false
    let credentialsBefore = trust.credentials?.generation
    if let credentials = crossings.credentials.value { mustJudge = trust.adopt(credentials) }
    let previous = generation
    if let published = crossings.generation.value, published.number != generation?.number {
      generation = published
    }
    if adoptTrustDomains(previous) { mustJudge = true }
    if let generation, previous.map({ !generation.hasPlaces(of: $0) }) ?? true { judgeGrants(generation) }
    // Before anything new is served: who has lost its right gets nothing more.
    if mustJudge { judgeTrust() }
    scribe?.release()
    // A narrowing takes its clients out of what was announced before any of that leaves.
    if previous?.number != generation?.number { serveNewViews(since: previous) }
    deliverAnnounced()
    adoptReadiness(crossings.readiness.value && !draining)
    resolver.deliver()
    adoptSinks(
      somethingChanged: credentialsBefore != trust.credentials?.generation
        || previous?.rules.hash != generation?.rules.hash)
  }

  /// For what begins from now on.
  private func adopt(_ terms: ServeTerms) {
    trust.adopt(minimum: terms.minimumTLS)
    guard terms.limits != limits else { return }
    limits = terms.limits
    for listener in listeners { listener.limits = limits }
  }

  private func adoptReadiness(_ ready: Bool) {
    guard ready != isReady else { return }
    isReady = ready
    for client in clients.values { client.update(isReady: ready) }
  }

  /// Policy and sources say whose members pass the handshake. True when some no longer do.
  private func adoptTrustDomains(_ previous: Generation?) -> Bool {
    let ofSources = crossings.sourceTrustDomains.value
    guard let generation, previous?.rules.hash != generation.rules.hash || ofSources != sourceTrustDomains
    else { return false }
    sourceTrustDomains = ofSources
    return trust.adopt(named: ofSources.union(generation.rules.trustDomains))
  }

  /// The error that keeps this loop from accepting, if any: our own SVID is unusable for TLS.
  public var trustError: TLSError? { trust.contextError }

  /// Rules or gates changed: every client is placed anew; who lost its place is ended without a hold.
  private func judgeGrants(_ generation: Generation) {
    for client in clients.values where !client.isEnded {
      if case .loopback = kind {
        client.grant = generation.grant(ofCluster: client.grant.cluster) ?? client.grant
        continue
      }
      switch generation.decision(for: client.peer.id) {
      case .granted(let grant): client.grant = grant
      case .refused(let reason):
        refused(.policy)
        client.end(.permissionDenied, reason.explanation)
      }
    }
    for refusal in refusals.values {
      // Granted now: let it come back as a client.
      if case .granted = generation.decision(for: refusal.id) {
        refusal.connection.finish(GRPCStatus(.unavailable, "policy changed: connect again"))
      }
    }
  }

  /// Bundles changed: peers whose chain no longer leads to one are ended.
  private func judgeTrust() {
    guard case .mutualTLS = kind else { return }
    for client in clients.values where !client.isEnded {
      do throws(VerificationFailure) {
        _ = try trust.verify(client.connection.peerChain, dialledAs: client.sink?.plan.peer)
      } catch {
        refused(.bundleRemoved)
        client.end(.unauthenticated, error.what)
      }
    }
  }

  public func handle(_ command: ServeCommand) {
    switch command {
    case .reportClients(let ticket):
      let facts = clients.values.flatMap { $0.facts }
      crossings.reports.push(.clients(loop: index, ticket: ticket, facts, sinks: sinks.map(\.facts)))
    case .describeStreams(let id, let query, let ticket):
      var room = ClientStatusQuery.resourcesMost
      let streams = clients.values.filter { $0.peer.id == id }.flatMap { $0.describe(query, room: &room) }
      crossings.reports.push(.streams(loop: index, ticket: ticket, streams))
    case .streams(let ticket, let streams):
      streamQuestions.removeValue(forKey: ticket)?(streams)
    case .beat:
      metrics.setBusy(fraction: loop.busyFraction)
      countLagging()
      settleRefusals()
      scribe?.handOver()
      crossings.reports.push(.alive(loop: index))
    case .drain(let time):
      drain(within: time)
    case .stop:
      settleRefusals(all: true)
      scribe?.handOver()
      loop.stop()
    }
  }

  private func countLagging() {
    let late = clients.values.count { $0.isLagging }
    metrics.change(.clientsLagging, by: late - lagging)
    lagging = late
  }

  /// Of refusals some are told, the rest is counted.
  func note(_ note: ServeNote) {
    guard let kind = note.refusal else { return tell(note) }
    guard let omitted = refusalMeter.admit(note, of: kind, at: loop.now) else { return }
    tell(note, omitted: omitted)
  }

  /// Says how many refusals were left out, as far as nobody else will.
  private func settleRefusals(all: Bool = false) {
    for (note, omitted) in refusalMeter.settle(at: loop.now, all: all) { tell(note, omitted: omitted) }
  }

  private func tell(_ note: ServeNote, omitted: Int = 0) {
    if let scribe {
      var record = note.record
      record.omitted = omitted
      scribe.record(record)
    }
    // A full mailbox loses notes, never state: the counters in `metrics` stay exact.
    crossings.reports.push(.noted(note, omitted: omitted))
  }

  // MARK: ending

  private func drain(within time: Duration) {
    guard !draining else { return }
    draining = true
    for listener in listeners { listener.stop() }
    adoptReadiness(false)
    for sink in sinks { sink.stop() }
    sinks = []
    let status = GRPCStatus(.unavailable, "this relay is shutting down")
    for connection in strangers.values { connection.close(.closedHere(status)) }
    for refusal in refusals.values { refusal.connection.close(.closedHere(status)) }
    for client in clients.values { client.connection.drain(status, within: time) }
    reportWhenDrained()
  }

  private func reportWhenDrained() {
    guard draining, strangers.isEmpty, clients.isEmpty, refusals.isEmpty else { return }
    crossings.reports.push(.drained(loop: index))
  }

  public func connectionClosed(_ connection: Connection, _ reason: ConnectionEnd) {
    if strangers.remove(connection) != nil {
      handshook(reason)
      if case .closedByPeer = reason {
      } else {
        note(.handshakeFailed(address: connection.peer.description, reason: reason.description))
      }
    } else if let client = clients.remove(connection) {
      client.left()
      crossings.census.leave(client.peer.id)
      metrics.change(.clients, by: -1)
      note(
        .disconnected(
          client.peer.id, cluster: client.grant.cluster, address: connection.peer.description,
          reason: reason.description))
    }
    refusals.remove(connection)
    reportWhenDrained()
  }
}

extension Generation.Refusal {
  var metric: RefusalReason {
    switch self {
    case .noCluster: .noCluster
    case .blocked: .blocked
    }
  }

  /// What the client is told.
  var explanation: String {
    switch self {
    case .noCluster: "no cluster of the policy has this identity"
    case .blocked: "this identity is blocked"
    }
  }
}
