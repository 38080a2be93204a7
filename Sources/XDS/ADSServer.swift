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

/// The vocabulary every dialect shares.
public typealias ADSResponse = StreamResponse
public typealias ADSServerEvent = StreamEvent

/// One stream of one client.
public struct ADSServer {
  public let dialect: ADSDialect
  private let limits: Limits
  /// What responses are made from.
  public private(set) var view = View.nothing
  /// By type URL; the arrays below have its order.
  private var agenda = Agenda()
  // One of the two is in use, by dialect. Beside an enum, not in it: in place, a request costs what it
  // changes, however many names its subscription holds.
  private var worlds: [StateOfTheWorldSubscription] = []
  private var deltas: [DeltaSubscription] = []
  private var events: [ADSServerEvent] = []
  private var lastNonce: UInt64 = 0
  /// The client's own name for itself; a label, never proof.
  public private(set) var nodeID: String?
  /// A `google.protobuf.Struct` that nobody has read yet: a label as well. Empty when the client gave none.
  public private(set) var nodeMetadata: [UInt8] = []

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
      identify(request.nodeID, request.nodeMetadata)
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
      identify(request.nodeID, request.nodeMetadata)
      let isFirst = agenda.index(of: request.typeURL) == nil
      let index = try subscription(to: request.typeURL)
      let outcome = try deltas[index].receive(request, isFirst: isFirst, limits: limits)
      report(outcome, index)
    }
  }

  /// The newest view of the client's policy class.
  public mutating func update(_ view: View) {
    self.view = view
    agenda.markAllDue()
  }

  /// The next response to write, or nil when there is none now. An error ends the stream with its code.
  public mutating func nextResponse(now: Instant) throws(ADSError) -> ADSResponse? {
    for index in agenda.indices where agenda.isDue(index) {
      let turn = Turn(view: view, now: now, limits: limits, nonce: String(lastNonce + 1))
      let step = dialect == .delta ? deltas[index].next(turn) : try worlds[index].next(turn)
      agenda.note(step, index, isAtRest: dialect == .delta ? deltas[index].isAtRest : worlds[index].isAtRest)
      if case .send(let response) = step {
        lastNonce += 1
        return response
      }
    }
    return nil
  }

  public mutating func nextEvent() -> ADSServerEvent? {
    events.isEmpty ? nil : events.removeFirst()
  }

  /// When `deadlinePassed` should be called; nil when nothing waits for time alone.
  public func nextDeadline() -> Instant? {
    agenda.nextDeadline()
  }

  /// Looks again at what waited until now; `nextResponse` then has it.
  public mutating func deadlinePassed(now: Instant) {
    agenda.deadlinePassed(now: now)
  }

  /// Every subscription wants all of its type and waits for newer content only.
  public var isAtRest: Bool { agenda.isAtRest }

  /// Subscriptions.
  public var typeCount: Int { agenda.indices.count }

  public typealias Status = SubscriptionStatus

  /// All subscriptions in the order of their first requests.
  public var status: [Status] {
    agenda.indices.map { index in
      Status(
        typeURL: agenda.name(index),
        dialect == .delta ? deltas[index].deliveries : worlds[index].deliveries)
    }
  }

  /// All subscriptions with the resources they hold, as far as there is `room` for them. Costs as much as is listed.
  public func details(room: inout Int) -> [SubscriptionDetail] {
    agenda.indices.map { dialect == .delta ? deltas[$0].detail(&room) : worlds[$0].detail(&room) }
  }

  /// Some response has waited for its answer for longer than `limits.acknowledgement`. Bare kinds do not
  /// count: istiod never answers them.
  public func isLagging(now: Instant) -> Bool {
    agenda.indices.contains { index in
      guard TypeURL(parsing: agenda.name(index)).flatMap({ Kinds[$0.type] })?.isBare != true else {
        return false
      }
      let deliveries = dialect == .delta ? deltas[index].deliveries : worlds[index].deliveries
      return deliveries.isOverdue(now: now, limits: limits)
    }
  }

  private mutating func identify(_ id: String?, _ metadata: [UInt8]) {
    if !metadata.isEmpty { nodeMetadata = metadata }
    guard let id, id != nodeID else { return }
    nodeID = id
    events.append(.nodeIdentified(id: id))
  }

  private mutating func subscription(to typeURL: String) throws(ADSError) -> Int {
    guard !typeURL.isEmpty else { throw .missingTypeURL }
    guard typeURL.utf8.count <= TypeURL.bytesMax else { throw .typeURLTooLong(bytes: typeURL.utf8.count) }
    if let index = agenda.index(of: typeURL) { return index }
    guard agenda.indices.count < limits.typesPerStream else {
      throw .tooManyTypes(limit: limits.typesPerStream)
    }
    switch dialect {
    case .stateOfTheWorld: worlds.append(StateOfTheWorldSubscription(typeURL: typeURL, limits: limits))
    case .delta: deltas.append(DeltaSubscription(typeURL: typeURL, limits: limits))
    }
    events.append(.subscribed(typeURL: typeURL))
    return agenda.add(typeURL)
  }

  private mutating func report(_ outcome: RequestOutcome, _ index: Int) {
    agenda.markDue(index)
    events += outcome.events(agenda.name(index))
  }
}
