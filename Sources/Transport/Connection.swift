// A connection's whole life in one file: socket, TLS and HTTP/2 joined. Read it from top to bottom:
//
//   connecting ─► handshaking ─► streaming ─► draining ─► flushing ─► closing ─► closed
//   (client)      (TLS)          (HTTP/2)     (GOAWAY)    (last bytes) (kernel)
//
// Every wait has a deadline. Nothing is sent and nothing is parsed beyond TLS before the peer's
// certificate was accepted: the HTTP/2 session is born only then. Closing has named steps because the
// kernel may still own a buffer: refuse new work, cancel, join completions, close, free (Ring does the
// middle three and says `socketClosed`).

public import GRPC
public import HTTP2
public import Primitives
public import Ring
public import TLS

/// What the owner of a connection wants to know. Called on the loop.
public protocol ConnectionOwner: AnyObject {
  /// The peer is verified and HTTP/2 may start; nothing was written to it yet.
  func connectionVerified(_ connection: Connection)
  /// HTTP/2 is up: calls may be opened (client side).
  func connectionReady(_ connection: Connection)
  /// Server side: a client opened a call. Nil: the method does not exist here.
  func connection(_ connection: Connection, opened call: Call, head: RequestHead) -> (any CallHandler)?
  /// Last event; the descriptor is closed.
  func connectionClosed(_ connection: Connection, _ reason: ConnectionEnd)
}

public final class Connection: SocketHandler, TimerHandler {
  /// How the bytes are protected. Plain text exists for loopback and Unix sockets only.
  public enum Security {
    case tls(TLSContext, serverName: String?)
    case plaintext

    fileprivate func makeEngine() throws(TLSError) -> TLSEngine? {
      switch self {
      case .tls(let context, let serverName): try TLSEngine(context: context, serverName: serverName)
      case .plaintext: nil
      }
    }
  }

  private enum Phase {
    case connecting, waitingTurn, handshaking, streaming, draining, flushing, closing, closed
  }
  private enum Deadline: Int { case phase, silence }

  public let role: HTTP2Session.Role
  public let peer: SocketAddress
  public let openedAt: Instant
  /// When set before `connectionVerified`, the accepted size of one message. Unit: bytes.
  public var messageBytes: Int
  /// What the peer says in plain text is wiped from the loop's memory once it was handed on.
  public var wipesInput = false

  /// Client side: the least time between two pings of ours. Reason: servers of other makes end a connection that is
  /// pinged too often.
  public var pingSpacing: Duration = .zero
  /// Client side: the server takes no new calls; open ones may go on for a while. Set by who would rather leave.
  public var onGoAway: ((_ debug: String) -> Void)?
  private let loop: EventLoop
  private let limits: Limits
  private let memory: LoopMemory
  private weak var owner: (any ConnectionOwner)?
  private let engine: TLSEngine?
  private var session: HTTP2Session?
  private var socket: SocketID?
  private var phase: Phase
  private var end: ConnectionEnd?
  private var calls: [StreamID: Call] = [:]
  /// Requests answered without a call, until their streams are closed.
  private var turnedAway: Set<StreamID> = []
  /// Being filled; its twin is with the kernel while `sendInFlight`.
  private var pending: IOBuffer?
  private var sendInFlight = false
  /// Depth of event handling: output leaves once, when the outermost handler returns.
  private var nesting = 0
  private var lastReceived: Instant
  private var pinged = false
  private var lastPing: Instant?
  private var phaseTimer = TimerID.none
  private var silenceTimer = TimerID.none
  /// Called once when this handshake's first flight was worked off, or it is over, either way: the
  /// listener paces handshakes with it.
  var turnOver: (() -> Void)?

  // MARK: born

  /// Server side: `socket` was just accepted. Call `begin` once its owner knows of it.
  init(
    accepted socket: SocketID, from peer: SocketAddress, security: Security, loop: EventLoop,
    limits: Limits, memory: LoopMemory, owner: any ConnectionOwner
  ) throws(TLSError) {
    role = .server
    self.peer = peer
    self.loop = loop
    self.limits = limits
    self.memory = memory
    self.owner = owner
    self.socket = socket
    openedAt = loop.now
    lastReceived = loop.now
    messageBytes = limits.requestBytes
    engine = try security.makeEngine()
    phase = .handshaking
    arm(limits.handshake)
  }

  /// Server side: in plain text there is no handshake to wait for.
  func begin() {
    if engine == nil, phase == .handshaking { becomeStreaming() }
  }

  /// Client side: dials `peer`.
  public init(
    dialling peer: SocketAddress, security: Security, loop: EventLoop, limits: Limits,
    memory: LoopMemory, owner: any ConnectionOwner
  ) throws(TLSError) {
    role = .client
    self.peer = peer
    self.loop = loop
    self.limits = limits
    self.memory = memory
    self.owner = owner
    openedAt = loop.now
    lastReceived = loop.now
    messageBytes = limits.messageBytes
    engine = try security.makeEngine()
    phase = .connecting
    arm(limits.handshake)
    socket = loop.connect(to: peer, self)
  }

  /// Server side: reading waits until `takeTurn`, because too many handshakes are under way.
  func waitForTurn() {
    guard phase == .handshaking, let socket else { return }
    phase = .waitingTurn
    loop.pauseReceiving(socket)
  }

  func takeTurn() {
    guard phase == .waitingTurn, let socket else { return }
    phase = .handshaking
    loop.resumeReceiving(socket)
  }

  public func socketConnected(_ socket: SocketID) {
    guard phase == .connecting else { return }
    phase = .handshaking
    guard let engine else { return becomeStreaming() }
    nested { advance(engine.start(output: output())) }
  }

  // MARK: handshake and bytes in

  public func socketReceived(_ socket: SocketID, _ bytes: UnsafeRawBufferPointer) {
    guard phase == .handshaking || phase == .streaming || phase == .draining else { return }
    lastReceived = loop.now
    pinged = false
    nested {
      guard let engine else {
        unsafe receivedPlaintext(bytes)
        // The loop's memory, which it lends for this call and reads no more.
        if wipesInput { unsafe wipe(bytes) }
        return
      }
      let opened = memory.opened
      let progress = unsafe engine.receive(bytes, plaintext: opened, output: output())
      defer { opened.removeAll() }
      advance(progress, opened)
      // What costs is done; the peer may take its time for the rest.
      if phase == .handshaking { endTurn() }
    }
  }

  /// Acts on what the TLS engine said; `opened` holds what it decrypted.
  private func advance(_ progress: TLSEngine.Progress, _ opened: IOBuffer? = nil) {
    switch progress {
    case .handshaking:
      break
    case .established:
      if phase == .handshaking { becomeStreaming() }
      if let opened, !opened.isEmpty { unsafe receivedPlaintext(opened.readable) }
    case .closedByPeer:
      if let opened, !opened.isEmpty { unsafe receivedPlaintext(opened.readable) }
      close(.closedByPeer)
    case .failed(let error):
      close(.tls(error))
    }
  }

  /// The handshake was short, because the peer came back with a ticket.
  public var isResumed: Bool { engine?.isResumed ?? false }

  /// The chain the peer presented, leaf first. Empty in plain text.
  public var peerChain: [Certificate] { engine?.peerChain ?? [] }

  private func becomeStreaming() {
    phase = .streaming
    endTurn()
    nested {
      owner?.connectionVerified(self)
      // The owner may have closed it: then no HTTP/2 byte is ever written.
      guard phase == .streaming else { return }
      session = HTTP2Session(role: role, limits: limits)
      tellSurroundings()
      if role == .server { arm(limits.firstByte) } else { disarm() }
      watchSilence()
      owner?.connectionReady(self)
    }
  }

  private func endTurn() {
    let over = turnOver
    turnOver = nil
    over?()
  }

  private func receivedPlaintext(_ bytes: UnsafeRawBufferPointer) {
    guard let session, phase == .streaming || phase == .draining else { return }
    do throws(HTTP2Error) {
      try unsafe session.receive(bytes, now: loop.now)
    } catch {
      handleEvents(of: session)
      return close(.http2(error))
    }
    handleEvents(of: session)
    closeIfFinished(session)
  }

  /// A session that neither reads nor writes any more has nothing to keep its connection for.
  private func closeIfFinished(_ session: HTTP2Session) {
    guard mayProduce, session.isFinished else { return }
    close(session.failure.map(ConnectionEnd.http2) ?? end ?? .closedByPeer)
  }

  private func handleEvents(of session: HTTP2Session) {
    while phase == .streaming || phase == .draining, let event = session.nextEvent() {
      switch event {
      case .headers(let stream, let headers, let endOfStream):
        receivedHeaders(stream, headers, endOfStream)
      case .data(let stream, let bytes, let endOfStream):
        let count = bytes.count
        unsafe calls[stream]?.received(data: bytes, endOfStream: endOfStream)
        session.consumed(stream, count)
      case .streamClosed(let stream, let code):
        turnedAway.remove(stream)
        calls.removeValue(forKey: stream)?.streamClosed(errorCode: code)
        if phase == .draining, calls.isEmpty { close(drained) }
      case .dataSent(let stream):
        calls[stream]?.drained()
      case .goAway(let lastStream, let code, let debug):
        receivedGoAway(lastStream, code, debug)
      case .pong, .settingsReceived:
        break
      }
    }
  }

  private func receivedHeaders(_ stream: StreamID, _ headers: HeaderList, _ endOfStream: Bool) {
    if let call = calls[stream] {
      return call.received(headers: headers, endOfStream: endOfStream)
    }
    // Trailers of a request that was turned away have nobody to go to.
    guard role == .server, !turnedAway.contains(stream) else { return }
    openCall(stream, headers, endOfStream)
  }

  private func openCall(_ stream: StreamID, _ headers: HeaderList, _ endOfStream: Bool) {
    guard phase == .streaming else {
      let status = GRPCStatus(.unavailable, "this relay is shutting down")
      return turnAway(stream, ResponseHeaders.trailersOnly(status))
    }
    disarm()
    let head: RequestHead
    do throws(RequestRejection) {
      head = try RequestHead(parsing: headers)
    } catch {
      return turnAway(stream, error.response)
    }
    let call = Call(from: stream, on: self, head: head, messageBytes: messageBytes)
    calls[stream] = call
    if let timeout = head.timeout { call.end(after: timeout, on: loop) }
    if let handler = owner?.connection(self, opened: call, head: head) {
      call.serve(handler)
      if endOfStream { call.requestEnded() }
    } else {
      call.finish(GRPCStatus(.unimplemented, "unknown method \(head.path)"))
    }
  }

  private func turnAway(_ stream: StreamID, _ response: HeaderList) {
    turnedAway.insert(stream)
    session?.respondAndEnd(stream, response)
  }

  private func receivedGoAway(_ lastStream: StreamID, _ code: UInt32, _ debug: String) {
    guard role == .client else { return }
    phase = .draining
    end = .goneAway(debug: debug)
    // Calls the server will not answer are over now; the others may finish. Their handlers may close.
    for stream in calls.keys.sorted(by: { $0.rawValue < $1.rawValue })
    where stream.rawValue > lastStream.rawValue {
      let status = GRPCStatus(.unavailable, "the server is going away")
      calls.removeValue(forKey: stream)?.connectionLost(status)
    }
    onGoAway?(debug)
    guard phase == .draining else { return }
    if calls.isEmpty { close(.goneAway(debug: debug)) } else { arm(limits.drain) }
  }

  public func socketReachedEnd(_ socket: SocketID) {
    guard let engine, phase == .handshaking || phase == .streaming || phase == .draining else {
      return close(.closedByPeer)
    }
    if case .failed(let error) = engine.receivedEnd(), phase == .handshaking {
      close(.tls(error))
    } else {
      close(.closedByPeer)
    }
  }

  public func socketFailed(_ socket: SocketID, _ error: RingError) {
    sendInFlight = false
    close(.socket(error))
  }

  // MARK: calls out, bytes out

  /// Client side: opens a call; nil when the connection is not streaming.
  public func open(path: String, authority: String, metadata: HeaderList = [], _ handler: any CallHandler)
    -> Call?
  {
    open(path: path, authority: authority, metadata: metadata) { _ in handler }
  }

  /// The same for a handler that is made for its call.
  public func open(
    path: String, authority: String, metadata: HeaderList = [], handledBy make: (Call) -> any CallHandler
  ) -> Call? {
    guard phase == .streaming, let session else { return nil }
    let headers = RequestHeaders.call(path: path, authority: authority, metadata: metadata)
    var opened: Call?
    nested {
      do throws(HTTP2Error) {
        let stream = try session.request(headers)
        let call = Call(to: stream, on: self, messageBytes: messageBytes)
        calls[stream] = call
        call.serve(make(call))
        opened = call
      } catch {
        close(.http2(error))
      }
    }
    return opened
  }

  /// `object` will be touched whenever this connection is used. Unit of `lines`: cache lines of 64 bytes.
  public func surround(with object: AnyObject, lines: UInt) {
    if let socket { loop.surround(socket, with: object, lines: lines) }
  }

  /// For `EventLoop.approach`; nil once it is closed.
  public var socketID: SocketID? { socket }

  /// Lines as many as the objects have that every event touches; of the libraries' the beginnings.
  private func tellSurroundings() {
    guard let session else { return }
    surround(with: self, lines: 10)
    surround(with: session, lines: 5)
    if let engine { surround(with: engine, lines: 2) }
    guard let socket else { return }
    loop.surround(socket, withAddress: session.engineAddress, lines: 10)
    if let engine { loop.surround(socket, withAddress: engine.connectionAddress, lines: 6) }
  }

  /// Runs `body` with one flush at its end: for several sends in a row.
  public func batch(_ body: () -> Void) { nested(body) }

  func perform(_ body: (HTTP2Session) -> Void) {
    guard let session, phase == .streaming || phase == .draining else { return }
    nested { body(session) }
  }

  func unsentBytes(_ stream: StreamID) -> Int { session?.unsentBytes(stream) ?? 0 }

  private func nested(_ body: () -> Void) {
    nesting += 1
    body()
    nesting -= 1
    if nesting == 0 { flush() }
  }

  private func output() -> IOBuffer {
    if let pending { return pending }
    let buffer = memory.borrow()
    pending = buffer
    return buffer
  }

  /// Frames, encrypts and sends what there is, up to `sendBufferBytes`, unless a send is under way.
  private func flush() {
    guard !sendInFlight, let socket else { return }
    switch phase {
    case .streaming, .draining: produce()
    case .handshaking, .flushing: break
    case .connecting, .waitingTurn, .closing, .closed: return
    }
    guard phase != .closing else { return }
    guard let buffer = pending, !buffer.isEmpty else {
      if let pending { memory.giveBack(pending) }
      pending = nil
      // The last bytes are with the kernel: nothing is left to wait for.
      if phase == .flushing { beginClosing() }
      return
    }
    pending = nil
    sendInFlight = true
    loop.send(socket, buffer)
  }

  /// Moves frames from the session through the engine into `pending`. What becomes free to go meanwhile
  /// (a drained call that has more) goes along, so that small messages share records.
  private func produce() {
    guard let session else { return }
    nesting += 1
    defer { nesting -= 1 }
    var before: Int
    repeat {
      before = output().count
      guard sealFrames(of: session) else { return }
      handleEvents(of: session)
    } while output().count > before && output().count < limits.sendBufferBytes && session.wantsToSend
      && mayProduce
    // The GOAWAY that answers a peer's fault is only known to be the last word once it is written.
    closeIfFinished(session)
  }

  private var mayProduce: Bool { phase == .streaming || phase == .draining }

  /// False when the connection was closed over it.
  private func sealFrames(of session: HTTP2Session) -> Bool {
    let framed = memory.framed
    defer { framed.removeAll() }
    while session.wantsToSend, output().count < limits.sendBufferBytes {
      do throws(HTTP2Error) {
        try session.produce(into: framed, upTo: Connection.recordsAtOnce)
      } catch {
        close(.http2(error))
        return false
      }
      guard !framed.isEmpty else { break }
      do throws(TLSError) {
        try seal(framed)
      } catch {
        close(.tls(error))
        return false
      }
      framed.removeAll()
    }
    return true
  }

  private func seal(_ framed: IOBuffer) throws(TLSError) {
    if let engine {
      try unsafe engine.send(framed.readable, output: output())
    } else {
      unsafe output().append(framed.readable)
    }
  }

  /// Plaintext encrypted in one go. Unit: bytes; four full TLS records, which stay in the L2 cache.
  private static let recordsAtOnce = 64 * 1024

  public func socketSent(_ socket: SocketID, _ buffer: consuming IOBuffer) {
    sendInFlight = false
    memory.giveBack(buffer)
    if nesting == 0 { flush() }
  }

  // MARK: drain and death

  /// Stops taking calls; open ones end with `status` when they have not ended by themselves in time.
  public func drain(_ status: GRPCStatus, within time: Duration) {
    // What we have dialled has calls of ours alone: nobody else has anything to end.
    guard role == .server, phase == .streaming, let session else { return close(.closedHere(status)) }
    phase = .draining
    end = .closedHere(status)
    nested { session.shutdownNotice() }
    if calls.isEmpty { close(.closedHere(status)) } else { arm(time) }
  }

  /// Ends every open call with `status` at once, then the connection: what is queued and not yet on its
  /// way is dropped, and a peer that reads nothing for a second is cut off.
  public func finish(_ status: GRPCStatus) {
    guard role == .server, phase == .streaming || phase == .draining, let session else {
      return close(.closedHere(status))
    }
    phase = .draining
    end = .closedHere(status)
    nested {
      for stream in calls.keys.sorted(by: { $0.rawValue < $1.rawValue }) { calls[stream]?.cutShort(status) }
      session.goAway(errorCode: 0, debug: "")
    }
    if calls.isEmpty { close(.closedHere(status)) } else { arm(.seconds(1)) }
  }

  private var drained: ConnectionEnd {
    end ?? .closedHere(GRPCStatus(.unavailable, "drained"))
  }

  /// Ends the connection now: calls hear of it, what is encrypted already still leaves.
  public func close(_ reason: ConnectionEnd) {
    switch phase {
    case .flushing, .closing, .closed: return
    case .connecting, .waitingTurn, .handshaking, .streaming, .draining: break
    }
    let mayFlush = phase != .connecting && !reason.socketIsDead
    if mayFlush { produceLast(reason) }
    phase = .flushing
    end = reason
    endTurn()
    loop.cancel(silenceTimer)
    let status = reason.status(for: role)
    for stream in calls.keys.sorted(by: { $0.rawValue < $1.rawValue }) {
      calls.removeValue(forKey: stream)?.connectionLost(status)
    }
    guard mayFlush, sendInFlight || !(pending?.isEmpty ?? true) else { return beginClosing() }
    arm(.seconds(1))
    if nesting == 0 { flush() }
  }

  /// GOAWAY and close_notify, so that the peer learns why.
  private func produceLast(_ reason: ConnectionEnd) {
    guard let session, mayProduce else { return }
    if case .http2(let error) = reason, case .violation = error {
      // nghttp2 has queued its own GOAWAY.
    } else if case .http2 = reason {
      session.goAway(errorCode: HTTP2ErrorCode.enhanceYourCalm, debug: reason.what)
    }
    if case .tls = reason { return }
    let framed = memory.framed
    framed.removeAll()
    defer { framed.removeAll() }
    // When neither can speak any more, the close itself has to tell the peer.
    do throws(HTTP2Error) { try session.produce(into: framed, upTo: Connection.recordsAtOnce) } catch {
      return
    }
    if !framed.isEmpty { do throws(TLSError) { try seal(framed) } catch { return } }
    engine?.close(output: output())
  }

  private func beginClosing() {
    guard phase != .closing, phase != .closed else { return }
    phase = .closing
    disarm()
    if let socket { loop.close(socket) }
  }

  public func socketClosed(_ socket: SocketID) {
    guard phase != .closed else { return }
    if phase != .closing { close(.closedByPeer) }
    phase = .closed
    disarm()
    loop.cancel(silenceTimer)
    if let pending { memory.giveBack(pending) }
    pending = nil
    session = nil
    self.socket = nil
    let owner = owner
    self.owner = nil
    owner?.connectionClosed(self, drained)
  }

  // MARK: deadlines

  private func arm(_ time: Duration) {
    loop.cancel(phaseTimer)
    phaseTimer = loop.schedule(at: loop.now + time, self, tag: Deadline.phase.rawValue)
  }

  private func disarm() {
    loop.cancel(phaseTimer)
    phaseTimer = .none
  }

  private func watchSilence() {
    silenceTimer = loop.schedule(at: loop.now + limits.idle, self, tag: Deadline.silence.rawValue)
  }

  public func timerFired(_ id: TimerID, tag: Int) {
    if tag == Deadline.silence.rawValue { silenceTimerFired() } else { phaseTimerFired() }
  }

  private func phaseTimerFired() {
    switch phase {
    case .connecting: close(.timedOut(.connect))
    case .waitingTurn, .handshaking: close(.timedOut(.handshake))
    case .streaming: close(.timedOut(.firstCall))
    case .draining:
      if case .closedHere(let status) = end, calls.values.contains(where: { $0.isOpen }) {
        finish(status)
      } else {
        close(drained)
        // It had its second: what could not be written by now is not waited for again.
        beginClosing()
      }
    case .flushing: beginClosing()
    case .closing, .closed: break
    }
  }

  /// Nothing heard for `idle`: ask once; no byte within `answerMost` of that: the peer is gone.
  private func silenceTimerFired() {
    guard phase == .streaming || phase == .draining, let session else { return }
    guard !pinged else { return close(.timedOut(.silence)) }
    let due = max(lastReceived + limits.idle, lastPing.map { $0 + pingSpacing } ?? lastReceived)
    guard due <= loop.now else {
      silenceTimer = loop.schedule(at: due, self, tag: Deadline.silence.rawValue)
      return
    }
    pinged = true
    lastPing = loop.now
    nested { session.ping(0x6d65_7368) }
    silenceTimer = loop.schedule(at: loop.now + answerMost, self, tag: Deadline.silence.rawValue)
  }

  /// A client may be busy with what we send it; a server that says nothing for so long has nothing to be busy with.
  private var answerMost: Duration {
    role == .client ? min(limits.idle, Connection.serverAnswerMost) : limits.idle
  }

  /// Reason: the usual time for the answer to a ping is 10 to 20 s.
  private static let serverAnswerMost: Duration = .seconds(20)
}

extension ConnectionEnd {
  /// No further byte can be written.
  fileprivate var socketIsDead: Bool {
    switch self {
    case .socket: true
    default: false
    }
  }
}
