// One admitted connection: who it is, which view policy gives it, its streams, and how its right to be
// here can end (policy, its certificate, its bundle).

import Audit
import GRPC
import Gates
import MCP
import Metrics
import Primitives
import Ring
import SPIFFE
import Snapshots
import Transport
import Trust

final class Client: TimerHandler {
  let connection: Connection
  let peer: Caller
  let connectedAt: Timestamp
  /// Its place in the generation it was judged by last.
  var grant: Generation.Grant {
    didSet {
      if grant.cluster != oldValue.cluster { forgetName() }
      takePlace()
    }
  }
  /// How records name it; made when first needed.
  private var named: PieceNumbers.Name?
  /// Class of the view it was given last, in the generation of that view.
  var servedClass: Int { didSet { takePlace() } }
  /// Its row in the loop's `seats`; nil without an audit.
  private(set) var seat: Int?
  /// Nothing is served any more; the connection is on its way out.
  private(set) var isEnded = false
  /// Set when it was we who dialled.
  let sink: DialledSink?
  private var streams: [ClientStream] = []
  private var watches: [HealthWatch] = []
  /// Of long answers about its streams.
  private var statusPacing: ResendPacing
  private unowned let serving: ServeLoop
  private var expiry = TimerID.none

  init(
    _ connection: Connection, peer: Caller, grant: Generation.Grant, serving: ServeLoop,
    sink: DialledSink? = nil
  ) {
    self.connection = connection
    self.peer = peer
    self.grant = grant
    servedClass = grant.classIndex
    self.serving = serving
    self.sink = sink
    statusPacing = ResendPacing(limits: serving.limits)
    connectedAt = serving.loop.wallClock
    connection.surround(with: self, lines: 4)
    if serving.scribe != nil { seat = serving.seats.take(self, connection.socketID) }
    takePlace()
    watchExpiry()
  }

  var facts: [ClientFacts] {
    streams.map { stream in
      ClientFacts(
        id: peer.id, cluster: grant.cluster, address: connection.peer.description,
        dialect: stream.dialect.name, connectedAt: connectedAt, subscriptions: stream.subscriptions)
    }
  }

  /// Its streams, as far as they are asked for.
  func describe(_ query: ClientStatusQuery, room: inout Int) -> [StreamDescription] {
    var found: [StreamDescription] = []
    for stream in streams where query.wants(stream.nodeID, stream.nodeMetadata) {
      found.append(stream.description(room: &room))
    }
    return found
  }

  /// Serves a call of this client.
  func open(_ call: Call, _ method: ServiceMethod) -> any CallHandler {
    switch method {
    case .configuration(let dialect): openStream(call, dialect)
    case .health(.watch): openWatch(call)
    case .health(.check):
      QueryCall(call, isUnary: true) { [serving] request throws(GRPCStatus) in
        try HealthService.check(request, isReady: serving.isReady)
      }
    case .health(.list):
      QueryCall(call, isUnary: true) { [serving] request throws(GRPCStatus) in
        try HealthService.list(request, isReady: serving.isReady)
      }
    case .reflection: openReflection(call)
    case .clientStatus(let method):
      QueryCall(call, isUnary: method == .fetch) { [weak self] request, reply in
        do throws(GRPCStatus) { try self?.answer(ClientStatusQuery(request), reply) } catch {
          reply(.failure(error))
        }
      }
    }
  }

  private func answer(_ query: ClientStatusQuery, _ reply: @escaping QueryCall.Reply) throws(GRPCStatus) {
    guard statusPacing.earliest(now: serving.loop.now) <= serving.loop.now else {
      throw GRPCStatus(.resourceExhausted, "asked for too much too often: ask for less, or later")
    }
    serving.askForStreams(of: peer.id, query) { [weak self] streams in
      guard let streams else {
        return reply(.failure(GRPCStatus(.unavailable, "this relay is too busy to answer: try again")))
      }
      if let self, streams.reduce(0, { $0 + $1.resources }) > ClientStatusQuery.freeResources {
        statusPacing.spend(now: serving.loop.now)
      }
      reply(.success(ClientStatusQuery.response(streams)))
    }
  }

  private func openReflection(_ call: Call) -> any CallHandler {
    var stream = ReflectionStream()
    return QueryCall(call, isUnary: false) { request throws(GRPCStatus) in try stream.answer(request) }
  }

  private func openWatch(_ call: Call) -> any CallHandler {
    let watch = HealthWatch(call, client: self, isReady: serving.isReady)
    watches.append(watch)
    return watch
  }

  /// Serves a sink that we have dialled, on a call of ours.
  func openSink(authority: String) {
    let method = MCPMethod.resourceSink
    _ = connection.open(path: method.path, authority: authority) { openStream($0, .classic(method)) }
  }

  private func openStream(_ call: Call, _ dialect: Dialect) -> any CallHandler {
    let stream = ClientStream(
      call, dialect: dialect, client: self, loop: serving.loop, limits: serving.limits)
    // Who has two streams is asked at every push.
    forgetStream()
    serving.callOff(self)
    streams.append(stream)
    if let view = serving.view(of: grant) { stream.update(view) }
    return stream
  }

  func update(_ view: View, narrows: Bool) {
    guard !streams.isEmpty else { return }
    func updateAll() { for stream in streams { stream.update(view, narrows: narrows) } }
    // With an audit nothing leaves yet: `Scribe.release` shares records of TLS then.
    if scribe == nil { connection.batch(updateAll) } else { updateAll() }
  }

  /// `update` with responses that have their records: of its only stream, for another one calls an announcement off.
  func push(_ view: View, _ forecast: Forecast, arrivedAt: Instant) {
    guard let stream = streams.first else { return }
    connection.batch { stream.push(view, forecast, arrivedAt: arrivedAt) }
  }

  /// The records of what it was to be given are lost.
  func deny() { for stream in streams { stream.deny() } }

  private func takePlace() {
    if let seat { serving.seats.place(seat, served: servedClass, granted: grant.classIndex) }
  }

  func update(isReady: Bool) { for watch in watches { watch.update(isReady: isReady) } }

  /// Some response has waited too long for its answer.
  var isLagging: Bool { streams.contains { $0.isLagging } }

  /// Ends everything this client has, with a reason it can read.
  func end(_ code: StatusCode, _ reason: String) {
    guard !isEnded else { return }
    isEnded = true
    forgetStream()
    serving.note(.ended(peer.id, cluster: grant.cluster, reason: reason))
    connection.finish(GRPCStatus(code, reason))
  }

  func left() {
    serving.loop.cancel(expiry)
    forgetName()
    if let seat { serving.seats.leave(seat) }
    seat = nil
  }

  // MARK: from its streams

  /// A stream waits for newer content of what `interest` numbers, and for nothing else; or does not any more.
  func rests(_ isAtRest: Bool, interest: Int) {
    guard let seat, !serving.seats.rest(seat, isAtRest), isAtRest else { return }
    if let scribe, streams.count == 1, !isEnded {
      serving.seats.introduce(seat, interest: interest, name: name(for: scribe))
    }
  }

  /// The next rest introduces a stream anew.
  func forgetStream() { if let seat { serving.seats.forget(seat) } }

  func enter(_ typeURLs: [String]) -> Int { serving.seats.interests.enter(typeURLs) }

  func leave(interest: Int) { serving.seats.interests.leave(interest) }

  func ended(_ stream: ClientStream, _ status: GRPCStatus) {
    forgetStream()
    streams.removeAll { $0 === stream }
    sink?.streamEnded(status)
  }

  func ended(_ watch: HealthWatch) { watches.removeAll { $0 === watch } }

  /// We end the stream of a sink that we have dialled.
  func gaveUp(_ status: GRPCStatus) { sink?.streamEnds(status.message) }

  func couldNotWithdraw() {
    serving.refused(.policy)
    serving.note(
      .ended(peer.id, cluster: grant.cluster, reason: "a narrowed grant could not be written in time"))
  }

  func pushed(within time: Duration) { serving.pushed(within: time) }

  func brokeProtocol(_ message: String) {
    serving.refused(.protocol)
    serving.note(.brokeProtocol(peer.id, cluster: grant.cluster, message: message))
  }

  /// Nil: no audit is kept.
  var scribe: Scribe? { serving.scribe }

  /// How `scribe` names it.
  func name(for scribe: Scribe) -> PieceNumbers.Name {
    if let named, scribe.isKnown(named) { return named }
    let name = scribe.name(peer.id, cluster: grant.cluster)
    named = name
    return name
  }

  private func forgetName() {
    forgetStream()
    if let named { scribe?.release(named) }
    named = nil
  }

  func requested(_ dialect: Dialect) {
    serving.requested(dialect)
    sink?.answered()
  }

  func delivering(_ response: StreamResponse, _ dialect: Dialect) { serving.delivering(response, dialect) }

  func noted(_ event: StreamEvent, _ dialect: Dialect) { serving.noted(event, dialect, of: self) }

  /// Ends a stream whose delivery cannot be recorded.
  func couldNotRecord() { serving.refused(.limit) }

  // MARK: the certificate's life

  /// Unit: milliseconds. Reason: an expired certificate ends its streams within 5 s.
  private static let expiryLookMost: Int64 = 4_000

  private func watchExpiry() {
    guard let notAfter = peer.notAfter else { return }
    let left = notAfter.milliseconds - serving.loop.steadyWallClock.milliseconds
    // Looked at every few seconds, because the wall clock may be set, and the host may sleep.
    let wait = Duration.milliseconds(min(max(left, 0) + 1, Client.expiryLookMost))
    expiry = serving.loop.schedule(at: serving.loop.now + wait, self, tag: 0)
  }

  func timerFired(_ id: TimerID, tag: Int) {
    guard let notAfter = peer.notAfter, serving.loop.steadyWallClock > notAfter else { return watchExpiry() }
    serving.refused(.expired)
    end(.unauthenticated, "the client's certificate expired at \(notAfter.rfc3339)")
  }
}
