// The serving side of one aggregated discovery stream: bytes of requests in, responses out, no I/O.
//
//   receive(request) ─┐
//   update(view) ─────┼─► nextResponse() until nil ─► nextDeadline()
//   deadlinePassed() ─┘   nextEvent() until nil
//
// Every type of the stream is a protocol of its own: own nonces, own interest, own answers. The view
// is looked at when a response is made, never before, so whoever is slow gets the newest. Unknown
// types are answered empty, pending ones not at all. Must never send content that was refused, nor
// hold back what has to be taken away.
// Source: envoy.service.discovery.v3 AggregatedDiscoveryService.

public import Primitives
public import Snapshots

/// What the server learned from a request; for status, audit and metrics.
public enum ADSServerEvent: Sendable, Equatable {
  case nodeIdentified(id: String)
  case subscribed(typeURL: String)
  case acknowledged(typeURL: String, version: String)
  /// NACK.
  case rejected(typeURL: String, version: String, message: String)
  /// An answer to a response that no longer waits: ignored but for the names it carries.
  case stale(typeURL: String)
}

/// One stream of one client.
public struct ADSServer {
  public let dialect: ADSDialect
  private let limits: Limits
  private var view = View.nothing
  /// Type URL → position in the arrays below, which are in the order of first requests: the order of
  /// answers.
  private var indexByURL: [String: Int] = [:]
  private var schedules: [Schedule] = []
  // One of the two is in use, by dialect. Beside an enum, not in it: in place, a request costs what it
  // changes, however many names its subscription holds.
  private var worlds: [StateOfTheWorldSubscription] = []
  private var deltas: [DeltaSubscription] = []
  private var events: [ADSServerEvent] = []
  private var lastNonce: UInt64 = 0
  /// The client's own name for itself; a label, never proof.
  public private(set) var nodeID: String?

  private struct Schedule {
    let typeURL: String
    /// May have something to send.
    var isDue = true
    /// Has something to send that must wait until then.
    var waitsUntil: Instant?
  }

  public init(dialect: ADSDialect, limits: Limits) {
    self.dialect = dialect
    self.limits = limits
  }

  /// Takes one request. An error ends the stream with its code.
  public mutating func receive(_ message: [UInt8], now: Instant) throws(ADSError) {
    switch dialect {
    case .stateOfTheWorld:
      let request: DiscoveryRequest
      do {
        request = try DiscoveryRequest(message, namesMax: limits.namesPerSubscription)
      } catch {
        throw .malformedRequest(error)
      }
      identify(request.nodeID)
      let index = try subscription(to: request.typeURL)
      let outcome = try worlds[index].receive(request, limits: limits)
      report(outcome, index)
    case .delta:
      let request: DeltaDiscoveryRequest
      do {
        request = try DeltaDiscoveryRequest(message, namesMax: limits.namesPerSubscription)
      } catch {
        throw .malformedRequest(error)
      }
      identify(request.nodeID)
      let isFirst = indexByURL[request.typeURL] == nil
      let index = try subscription(to: request.typeURL)
      let outcome = try deltas[index].receive(request, isFirst: isFirst, limits: limits)
      report(outcome, index)
    }
  }

  /// The newest view of the client's policy class.
  public mutating func update(_ view: View) {
    self.view = view
    for index in schedules.indices { schedules[index].isDue = true }
  }

  /// The next response to write, or nil when there is none now. An error ends the stream with its code.
  public mutating func nextResponse(now: Instant) throws(ADSError) -> ADSResponse? {
    for index in schedules.indices where schedules[index].isDue {
      let turn = Turn(view: view, now: now, limits: limits, nonce: String(lastNonce + 1))
      switch dialect == .delta ? deltas[index].next(turn) : try worlds[index].next(turn) {
      case .send(let response):
        lastNonce += 1
        schedules[index].waitsUntil = nil
        return response
      case .wait(let until):
        schedules[index].waitsUntil = until
        schedules[index].isDue = false
      case .nothing:
        schedules[index].waitsUntil = nil
        schedules[index].isDue = false
      }
    }
    return nil
  }

  public mutating func nextEvent() -> ADSServerEvent? {
    events.isEmpty ? nil : events.removeFirst()
  }

  /// When `deadlinePassed` should be called; nil when nothing waits for time alone.
  public func nextDeadline() -> Instant? {
    schedules.compactMap(\.waitsUntil).min()
  }

  /// Looks again at what waited until now; `nextResponse` then has it.
  public mutating func deadlinePassed(now: Instant) {
    for index in schedules.indices {
      if let until = schedules[index].waitsUntil, until <= now { schedules[index].isDue = true }
    }
  }

  /// One subscription as status and CSDS show it.
  public struct Status: Sendable, Equatable {
    public let typeURL: String
    /// version_info of the last response; nil before the first.
    public let sent: String?
    /// version_info of the last response the client accepted.
    public let acked: String?
    public let nacks: Int
    /// The client's reason for its last refusal.
    public let lastNack: String?
  }

  /// All schedules in the order of their first requests.
  public var status: [Status] {
    schedules.indices.map { index in
      let deliveries = dialect == .delta ? deltas[index].deliveries : worlds[index].deliveries
      return Status(
        typeURL: schedules[index].typeURL, sent: deliveries.sent, acked: deliveries.acknowledged,
        nacks: deliveries.refusals, lastNack: deliveries.lastRefusal)
    }
  }

  /// Some response has waited for its answer for longer than `limits.acknowledgement`. Bare kinds do not
  /// count: istiod never answers them.
  public func isLagging(now: Instant) -> Bool {
    schedules.indices.contains { index in
      guard TypeURL(parsing: schedules[index].typeURL).flatMap({ Kinds[$0.type] })?.isBare != true else {
        return false
      }
      let deliveries = dialect == .delta ? deltas[index].deliveries : worlds[index].deliveries
      return deliveries.blockedUntil(limits: limits).map { $0 <= now } ?? false
    }
  }

  private mutating func identify(_ id: String?) {
    guard let id, id != nodeID else { return }
    nodeID = id
    events.append(.nodeIdentified(id: id))
  }

  private mutating func subscription(to typeURL: String) throws(ADSError) -> Int {
    guard !typeURL.isEmpty else { throw .missingTypeURL }
    guard typeURL.utf8.count <= TypeURL.bytesMax else { throw .typeURLTooLong(bytes: typeURL.utf8.count) }
    if let index = indexByURL[typeURL] { return index }
    guard schedules.count < limits.typesPerStream else {
      throw .tooManyTypes(limit: limits.typesPerStream)
    }
    switch dialect {
    case .stateOfTheWorld: worlds.append(StateOfTheWorldSubscription(typeURL: typeURL, limits: limits))
    case .delta: deltas.append(DeltaSubscription(typeURL: typeURL, limits: limits))
    }
    schedules.append(Schedule(typeURL: typeURL))
    indexByURL[typeURL] = schedules.count - 1
    events.append(.subscribed(typeURL: typeURL))
    return schedules.count - 1
  }

  private mutating func report(_ outcome: RequestOutcome, _ index: Int) {
    let typeURL = schedules[index].typeURL
    schedules[index].isDue = true
    if let version = outcome.acknowledged {
      events.append(.acknowledged(typeURL: typeURL, version: version))
    }
    if let refused = outcome.refused {
      events.append(.rejected(typeURL: typeURL, version: refused.version, message: refused.reason))
    }
    if outcome.isStale { events.append(.stale(typeURL: typeURL)) }
  }
}
