// One HTTP/2 connection without its socket: bytes in become events, commands become bytes out.
//
// Steps 4 and 11 of the life of a resource (docs/ARCHITECTURE.md). nghttp2 does framing, HPACK and
// flow control (RFC 9113, 7541); this class gives it bytes, notes what it reports, and copies DATA
// straight from shared bodies into the send buffer. No socket, clock or thread; never re-entrant.
//
//   receive(bytes) ─► nextEvent() until nil ─► commands ─► produce(into:) while there is room ─► …
//
// The connection's owner closes it when `isFinished`, or after `receive` threw and what `produce`
// still gives (a GOAWAY) has been sent.

internal import CNghttp2
public import Primitives

/// Server or client end of one connection. Belongs to one loop.
@safe
public final class HTTP2Session {
  public enum Role: Sendable { case server, client }

  /// Bytes before every frame's payload. RFC 9113 §4.1.
  static let frameHeaderBytes = 9

  public let role: Role
  let limits: Limits
  /// Freed in `deinit`; every use is inside a method of this class.
  private var engine: OpaquePointer

  /// Why the session ended, once it has: thrown by `receive`, or found by nghttp2, which then sends
  /// GOAWAY by itself; in that case it is set when `produce` has written that frame.
  public internal(set) var failure: HTTP2Error?

  /// Ascending by stream number. Few (`limits.streamsPerConnection`), so a search from the newest is quickest.
  var streams: [HTTP2Stream] = []
  private var events: [HTTP2Event] = []
  /// 0 ≤ eventsTaken ≤ events.count.
  private var eventsTaken = 0
  /// `data` events not taken yet: their bytes die with the argument of `receive`.
  private var dataEventsWaiting = 0

  /// The header block being received, and its size as RFC 9113 §6.5.2 counts it.
  var fields: HeaderList = []
  var fieldBytes = 0
  var meter: FloodMeter
  /// Time of the running `receive`.
  var now = Instant(nanoseconds: 0)
  /// Credit of closed streams, given back to the connection after the running call of nghttp2.
  var creditOfClosedStreams = 0

  /// Where the running `produce` writes, and up to how many bytes.
  var target: IOBuffer?
  var targetLimit = 0
  private var isInsideEngine = false
  private var isEngineLost = false
  /// An error GOAWAY was our owner's wish, not nghttp2's finding.
  private(set) var isGoingAwayByCommand = false

  /// Queues SETTINGS and the connection window; nothing is written before `produce`.
  public init(role: Role, limits: Limits) {
    self.role = role
    self.limits = limits
    meter = FloodMeter(limits: limits)
    // The context of the callbacks is the finished object, so it is set in a second step.
    unsafe engine = HTTP2Session.makeEngine(role: role, limits: limits)
    unsafe nghttp2_session_set_user_data(engine, Unmanaged.passUnretained(self).toOpaque())
  }

  deinit { unsafe nghttp2_session_del(engine) }

  /// Where nghttp2's session lies: a hint for who fetches memory ahead.
  public var engineAddress: UInt { unsafe UInt(bitPattern: engine) }

  private static func makeEngine(role: Role, limits: Limits) -> OpaquePointer {
    let callbacks = unsafe SessionCallbacks.shared.pointer
    var created: OpaquePointer?
    let result = unsafe SessionSettings.withOptions(limits) { options in
      switch role {
      case .server: unsafe nghttp2_session_server_new2(&created, callbacks, nil, options)
      case .client: unsafe nghttp2_session_client_new2(&created, callbacks, nil, options)
      }
    }
    guard result == 0, let engine = unsafe created,
      unsafe SessionSettings.submit(to: engine, role: role, limits: limits) == 0
    else { preconditionFailure("no memory for an HTTP/2 session") }
    return unsafe engine
  }

  // MARK: Receiving

  /// Feeds what the peer sent. `now` is only used to count floods. Take all events before `bytes` dies.
  ///
  /// Throws when the session cannot go on: write what `produce` still gives, then close.
  public func receive(_ bytes: UnsafeRawBufferPointer, now: Instant) throws(HTTP2Error) {
    if let failure { throw failure }
    precondition(dataEventsWaiting == 0, "events of the last receive() were not taken")
    guard let start = bytes.baseAddress, bytes.count > 0 else { return }
    self.now = now
    enterEngine()
    let start8 = unsafe start.assumingMemoryBound(to: UInt8.self)
    let result = unsafe nghttp2_session_mem_recv(engine, start8, bytes.count)
    leaveEngine()
    if let failure { throw failure }
    guard result < 0 else { return }
    throw lose(receiveError(Int32(clamping: result)))
  }

  /// After one of its fatal errors nghttp2 must not be used any more: nothing is produced either.
  private func lose(_ error: HTTP2Error) -> HTTP2Error {
    failure = error
    isEngineLost = true
    return error
  }

  private func receiveError(_ code: Int32) -> HTTP2Error {
    switch code {
    case NGHTTP2_ERR_BAD_CLIENT_MAGIC.rawValue: return .notHTTP2
    case NGHTTP2_ERR_FLOODED.rawValue:
      return .flood(.acknowledgements, limit: SessionSettings.unreadAcknowledgements)
    case NGHTTP2_ERR_TOO_MANY_CONTINUATIONS.rawValue:
      return .flood(.continuations, limit: limits.continuations)
    default: return .engine(code: code, reason: HTTP2Session.reason(code))
    }
  }

  /// The oldest event not taken yet.
  public func nextEvent() -> HTTP2Event? {
    guard eventsTaken < events.count else { return nil }
    let event = events[eventsTaken]
    eventsTaken += 1
    if case .data = event { dataEventsWaiting -= 1 }
    if eventsTaken == events.count {
      events.removeAll(keepingCapacity: true)
      eventsTaken = 0
    }
    return event
  }

  func note(_ event: HTTP2Event) {
    if case .data = event { dataEventsWaiting += 1 }
    events.append(event)
  }

  /// Puts END_STREAM on the last event if that is DATA of this stream; false otherwise.
  func markLastDataAsEnd(of id: StreamID) -> Bool {
    guard events.count > eventsTaken, case .data(id, let bytes, endOfStream: false) = events[events.count - 1]
    else { return false }
    events[events.count - 1] = unsafe .data(id, bytes, endOfStream: true)
    return true
  }

  /// Gives credit back for `bytes` of DATA, so that the peer may send as many again. Unknown streams are
  /// ignored: their credit was given back when they closed.
  public func consumed(_ id: StreamID, _ bytes: Int) {
    guard let stream = stream(id) else { return }
    let credit = min(bytes, stream.unconsumed)
    guard credit > 0 else { return }
    stream.unconsumed -= credit
    // Fails only without memory for the WINDOW_UPDATE: then the stream stalls and its deadline ends it.
    unsafe _ = nghttp2_session_consume(engine, id.rawValue, credit)
  }

  // MARK: Producing

  /// Appends frames to `buffer` until it holds `limit` bytes or there is nothing (left) that may be sent.
  /// The last frame is written whole: up to 16 KiB more than `limit`. A full buffer gets nothing.
  public func produce(into buffer: IOBuffer, upTo limit: Int) throws(HTTP2Error) {
    guard !isEngineLost, buffer.count < limit else { return }
    target = buffer
    targetLimit = limit
    enterEngine()
    let result = unsafe nghttp2_session_send(engine)
    leaveEngine()
    target = nil
    guard result < 0 else { return }
    throw lose(.engine(code: result, reason: HTTP2Session.reason(result)))
  }

  /// There is something `produce` would write now.
  public var wantsToSend: Bool {
    unsafe !isEngineLost && nghttp2_session_want_write(engine) != 0
  }

  /// Nothing more will be read or written: the connection is to be closed.
  public var isFinished: Bool {
    if wantsToSend { return false }
    return unsafe failure != nil || nghttp2_session_want_read(engine) == 0
  }

  // MARK: Commands for streams

  /// Opens a stream with a request that stays open for DATA. Client only.
  public func request(_ headers: HeaderList) throws(HTTP2Error) -> StreamID {
    precondition(role == .client, "a server does not send requests")
    if let failure { throw failure }
    guard unsafe nghttp2_session_check_request_allowed(engine) != 0 else { throw .noNewStreams }
    let result = unsafe withDataProvider { provider in
      unsafe FieldBlock.with(headers) { fields, count in
        unsafe nghttp2_submit_request(engine, nil, fields, count, provider, nil)
      }
    }
    guard result > 0 else { throw .engine(code: result, reason: HTTP2Session.reason(result)) }
    let id = StreamID(rawValue: result)
    streams.append(HTTP2Stream(id: id, sending: .open, isKnownToOwner: true))
    return id
  }

  /// Answers a request; the stream stays open for DATA. Ignored when the stream has closed meanwhile.
  public func respond(_ id: StreamID, _ headers: HeaderList) {
    guard let stream = answering(id) else { return }
    stream.sending = .open
    let result = unsafe withDataProvider { provider in
      unsafe FieldBlock.with(headers) { fields, count in
        unsafe nghttp2_submit_response(engine, id.rawValue, fields, count, provider)
      }
    }
    if result != 0 { reset(id, errorCode: HTTP2ErrorCode.internalError) }
  }

  /// Answers a request with headers alone (gRPC: Trailers-Only). Ignored when the stream has closed meanwhile.
  public func respondAndEnd(_ id: StreamID, _ headers: HeaderList) {
    guard let stream = answering(id) else { return }
    stream.sending = .ended
    let result = unsafe FieldBlock.with(headers) { fields, count in
      unsafe nghttp2_submit_response(engine, id.rawValue, fields, count, nil)
    }
    if result != 0 { reset(id, errorCode: HTTP2ErrorCode.internalError) }
  }

  private func answering(_ id: StreamID) -> HTTP2Stream? {
    precondition(role == .server, "a client does not send responses")
    guard let stream = stream(id), !stream.isReset else { return nil }
    guard case .awaitingResponse = stream.sending else {
      preconditionFailure("a request is answered once")
    }
    return stream
  }

  /// Queues `head`, then `body`, which is not copied. Ignored when the stream has closed meanwhile.
  public func send(_ id: StreamID, head: [UInt8], body: SharedBody?) {
    guard let stream = stream(id), !stream.isReset else { return }
    guard case .open = stream.sending else {
      preconditionFailure("DATA comes after the response's headers and before the end")
    }
    stream.outgoing.append(head: head, body: body)
    resume(stream)
  }

  /// Ends our half after everything queued: with `trailers`, or by END_STREAM on DATA if there are none.
  /// A server that ends before its client is done resets the stream with NO_ERROR after that.
  public func finish(_ id: StreamID, trailers: HeaderList) {
    guard let stream = stream(id), !stream.isReset else { return }
    guard case .open = stream.sending else {
      preconditionFailure("a stream is finished once, after the response's headers")
    }
    stream.sending = .ending(trailers: trailers)
    resume(stream)
  }

  /// Ends our half after everything queued. For clients: the half-close.
  public func end(_ id: StreamID) { finish(id, trailers: []) }

  /// Ends our half at once: what is queued is dropped, and `trailers` wait for no flow control. Server only;
  /// ignored before the response's headers and after the end.
  public func cutShort(_ id: StreamID, trailers: HeaderList) {
    guard let stream = stream(id), !stream.isReset else { return }
    switch stream.sending {
    case .awaitingResponse, .ended: return
    case .open, .ending: break
    }
    stream.outgoing.removeAll()
    stream.sending = .ended
    if !submitTrailers(id, trailers) { reset(id, errorCode: HTTP2ErrorCode.internalError) }
  }

  /// Drops queued messages of which nothing has been written yet; returns how many.
  @discardableResult
  public func discardUnsent(_ id: StreamID) -> Int { stream(id)?.outgoing.removeUnbegun() ?? 0 }

  /// Bytes queued on the stream and not written yet.
  public func unsentBytes(_ id: StreamID) -> Int { stream(id)?.outgoing.unsentBytes ?? 0 }

  /// Ends the stream at once, both ways; what is queued is dropped. `streamClosed` follows from `produce`.
  public func reset(_ id: StreamID, errorCode: UInt32) {
    guard let stream = stream(id), !stream.isReset else { return }
    stream.isReset = true
    stream.outgoing.removeAll()
    unsafe _ = nghttp2_submit_rst_stream(
      engine, UInt8(NGHTTP2_FLAG_NONE.rawValue), id.rawValue, errorCode)
  }

  // MARK: Commands for the connection

  /// Takes no new streams above the last one seen; those under way go on. RFC 9113 §6.8.
  public func goAway(errorCode: UInt32, debug: String) {
    let last = unsafe nghttp2_session_get_last_proc_stream_id(engine)
    let text = Array(debug.utf8)
    isGoingAwayByCommand = true
    unsafe _ = nghttp2_submit_goaway(
      engine, UInt8(NGHTTP2_FLAG_NONE.rawValue), last, errorCode, text, text.count)
  }

  /// First step of a graceful stop: GOAWAY that refuses nothing yet (last stream 2^31 − 1). Server only.
  public func shutdownNotice() {
    precondition(role == .server, "only a server announces its shutdown")
    unsafe _ = nghttp2_submit_shutdown_notice(engine)
  }

  /// Asks for a `pong` with the same payload.
  public func ping(_ payload: UInt64) {
    let bytes = (0..<8).map { UInt8(truncatingIfNeeded: payload >> (56 - 8 * UInt64($0))) }
    unsafe _ = nghttp2_submit_ping(engine, UInt8(NGHTTP2_FLAG_NONE.rawValue), bytes)
  }

  // MARK: The engine

  /// nil once the stream has closed: commands that cross its end are no fault.
  func stream(_ id: StreamID) -> HTTP2Stream? { streams.last { $0.id == id } }

  /// Ends the session for `error`, if there is one: nghttp2 stops reading and queues GOAWAY.
  func fail(_ error: HTTP2Error?) {
    guard let error, failure == nil else { return }
    failure = error
    unsafe _ = nghttp2_session_terminate_session(engine, HTTP2ErrorCode.enhanceYourCalm)
  }

  /// False without memory for them. Called while the stream's last DATA frame is made, as nghttp2 wants it.
  func submitTrailers(_ id: StreamID, _ trailers: HeaderList) -> Bool {
    unsafe FieldBlock.with(trailers) { fields, count in
      unsafe nghttp2_submit_trailer(engine, id.rawValue, fields, count) == 0
    }
  }

  private func resume(_ stream: HTTP2Stream) {
    guard stream.isDeferred else { return }
    stream.isDeferred = false
    // Refused only when nghttp2 is closing the stream: then nothing is to be sent any more.
    unsafe _ = nghttp2_session_resume_data(engine, stream.id.rawValue)
  }

  private func withDataProvider<R>(_ body: (UnsafePointer<nghttp2_data_provider>) -> R) -> R {
    var provider = unsafe nghttp2_data_provider()
    unsafe provider.read_callback = readQueuedData
    return unsafe withUnsafePointer(to: provider) { unsafe body($0) }
  }

  private func enterEngine() {
    precondition(!isInsideEngine, "nghttp2 is not re-entrant")
    isInsideEngine = true
  }

  private func leaveEngine() {
    isInsideEngine = false
    guard creditOfClosedStreams > 0 else { return }
    unsafe _ = nghttp2_session_consume_connection(engine, creditOfClosedStreams)
    creditOfClosedStreams = 0
  }

  private static func reason(_ code: Int32) -> String {
    guard let text = unsafe nghttp2_strerror(code) else { return "" }
    return unsafe String(cString: text)
  }
}
