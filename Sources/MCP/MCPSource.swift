// The serving side of one classic MCP stream: bytes of requests in, messages out, no I/O. Who dialled does
// not matter but for the first message, `greeting`.
//
//   receive(request) ─┐
//   update(view) ─────┼─► nextResponse() until nil ─► nextDeadline()
//   deadlinePassed() ─┘   nextEvent() until nil
//
// Same shape as `ADSServer`. Every collection of the stream is a protocol of its own. Collections nobody
// knows are answered empty, pending ones not at all. Must never send content that was refused, nor hold
// back what has to be taken away.
// Source: istio.mcp.v1alpha1 ResourceSource, ResourceSink, AggregatedMeshConfigService.

public import Primitives
public import Snapshots

/// One stream to one sink.
public struct MCPSource {
  public let method: MCPMethod
  private let limits: Limits
  /// What responses are made from.
  public private(set) var view = View.nothing
  /// By collection name; the array below has its order.
  private var agenda = Agenda()
  private var subscriptions: [CollectionSubscription] = []
  private var events: [StreamEvent] = []
  private var lastNonce: UInt64 = 0
  /// The sink's own name for itself; a label, never proof. Pilot gives none.
  public private(set) var nodeID: String?

  public init(method: MCPMethod, limits: Limits) {
    self.method = method
    self.limits = limits
  }

  /// What to send as soon as the stream is open, before any request; nil when the sink dialled.
  public var greeting: [UInt8]? {
    guard method == .resourceSink else { return nil }
    var head = SourceHead()
    head.collection = MCPCollection.trigger
    return head.encoded(method: method)
  }

  /// Takes one request. An error ends the stream with its code.
  public mutating func receive(_ message: [UInt8], now: Instant) throws(MCPError) {
    var request: SinkRequest
    do {
      request = try SinkRequest(message, method: method, namesMax: limits.namesPerSubscription)
    } catch {
      throw .malformedRequest(error)
    }
    identify(request.nodeID)
    // The answer to our greeting.
    if method == .resourceSink, request.collection == MCPCollection.trigger { return }
    if request.collection.isEmpty, method.response.collection == 0, lastNonce > 0, !request.nonce.isEmpty {
      // Our response did not say what it was of either: the nonce does. An unknown one is stale.
      guard let index = subscriptions.firstIndex(where: { $0.deliveries.knows(request.nonce) }) else {
        return
      }
      request.collection = agenda.name(index)
    }
    let isFirst = agenda.index(of: request.collection) == nil
    let index = try subscription(to: request.collection)
    let outcome = try subscriptions[index].receive(request, isFirst: isFirst, limits: limits)
    agenda.markDue(index)
    events += outcome.events(request.collection)
  }

  /// The newest view of the sink's policy class.
  public mutating func update(_ view: View) {
    self.view = view
    agenda.markAllDue()
  }

  /// The next message to write, or nil when there is none now. An error ends the stream with its code.
  public mutating func nextResponse(now: Instant) throws(MCPError) -> StreamResponse? {
    for index in agenda.indices where agenda.isDue(index) {
      let step = try subscriptions[index].next(
        Turn(view: view, now: now, limits: limits, nonce: String(lastNonce + 1)))
      agenda.note(step, index)
      if case .send(let response) = step {
        lastNonce += 1
        return response
      }
    }
    return nil
  }

  public mutating func nextEvent() -> StreamEvent? {
    events.isEmpty ? nil : events.removeFirst()
  }

  /// When `deadlinePassed` should be called; nil when nothing waits for time alone.
  public func nextDeadline() -> Instant? { agenda.nextDeadline() }

  /// Looks again at what waited until now; `nextResponse` then has it.
  public mutating func deadlinePassed(now: Instant) { agenda.deadlinePassed(now: now) }

  /// All subscriptions in the order of their first requests.
  public var status: [SubscriptionStatus] {
    agenda.indices.map { SubscriptionStatus(typeURL: agenda.name($0), subscriptions[$0].deliveries) }
  }

  /// All subscriptions with the resources they hold, as far as there is `room` for them. Costs as much as is listed.
  public func details(room: inout Int) -> [SubscriptionDetail] { subscriptions.map { $0.detail(&room) } }

  /// Some message has waited for its answer for longer than `limits.acknowledgement`.
  public func isLagging(now: Instant) -> Bool {
    subscriptions.contains { $0.deliveries.isOverdue(now: now, limits: limits) }
  }

  private mutating func identify(_ id: String?) {
    guard let id, !id.isEmpty, id != nodeID else { return }
    nodeID = id
    events.append(.nodeIdentified(id: id))
  }

  private mutating func subscription(to name: String) throws(MCPError) -> Int {
    guard !name.isEmpty else { throw .missingCollection }
    guard name.utf8.count <= MCPCollection.bytesMax else { throw .nameTooLong(bytes: name.utf8.count) }
    if let index = agenda.index(of: name) { return index }
    guard subscriptions.count < limits.typesPerStream else {
      throw .tooManyCollections(limit: limits.typesPerStream)
    }
    subscriptions.append(CollectionSubscription(MCPCollection(name), method: method, limits: limits))
    events.append(.subscribed(typeURL: name))
    return agenda.add(name)
  }
}
