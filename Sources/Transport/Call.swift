// One gRPC call on a connection, either side. Messages in as whole byte arrays, messages out as a
// small head and a shared body that is never copied per client.
//
// The call belongs to its connection, which belongs to its loop; nothing here may cross threads. What
// events mean is decided by the call states of the room GRPC; this file carries their answers out.

public import GRPC
public import HTTP2
public import Primitives
public import Ring

/// What a role (a client stream of a relay, a subscription to an upstream) implements for one call.
/// Methods are called on the loop; they may use the call freely, their effects leave after they return.
public protocol CallHandler: AnyObject {
  /// Client side: the server accepted the call with response headers.
  func callAccepted(_ call: Call)
  /// One whole message.
  func call(_ call: Call, received message: [UInt8])
  /// Server side: the client will send no more messages.
  func callHalfClosed(_ call: Call)
  /// Everything queued so far has been handed to the connection.
  func callDrained(_ call: Call)
  /// Last event: the call is over. Server side: `.ok` when its status was delivered.
  func callEnded(_ call: Call, _ status: GRPCStatus)
}

/// One gRPC call.
public final class Call: TimerHandler {
  private enum Side {
    case client(ClientCallState)
    case server(ServerCallState)
  }

  public let stream: StreamID
  /// Nil when the call is over. Not weak: a connection with weak references pays for each of its retains.
  public private(set) var connection: Connection?
  private var side: Side
  private var handler: (any CallHandler)?
  /// The status this side finished with (server).
  private var finished: GRPCStatus?
  private var isOver = false
  /// Server side: when the client gives up, where it said so.
  private var deadline = TimerID.none
  private var loop: EventLoop?

  /// A call of ours; its handler is set by `serve`.
  init(to stream: StreamID, on connection: Connection, messageBytes: Int) {
    self.stream = stream
    self.connection = connection
    side = .client(ClientCallState(maximumMessageBytes: messageBytes))
  }

  /// A call of a client; its handler is set by `serve`.
  init(from stream: StreamID, on connection: Connection, head: RequestHead, messageBytes: Int) {
    self.stream = stream
    self.connection = connection
    side = .server(ServerCallState(head: head, maximumMessageBytes: messageBytes))
  }

  func serve(_ handler: any CallHandler) { self.handler = handler }

  /// Server side: nobody waits for an answer any more after `timeout`.
  func end(after timeout: Duration, on loop: EventLoop) {
    self.loop = loop
    deadline = loop.schedule(at: loop.now + timeout, self, tag: 0)
  }

  public func timerFired(_ id: TimerID, tag: Int) {
    cutShort(GRPCStatus(.deadlineExceeded, "the time that the client set for this call is over"))
  }

  // MARK: commands

  /// A message may be sent. Server side: until `finish`; a message accepts the call by itself.
  public var isOpen: Bool {
    guard !isOver, finished == nil else { return false }
    switch side {
    case .client(let state): return state.maySend
    case .server: return true
    }
  }

  /// Bytes queued on this call that the connection has not taken yet.
  public var unsentBytes: Int { connection?.unsentBytes(stream) ?? 0 }

  /// Queues one message: `head` followed by `body`.
  public func send(head: [UInt8], body: SharedBody? = nil) { send(head: head[...], body: body) }

  /// The same for a head that is a part of something larger.
  public func send(head: ArraySlice<UInt8>, body: SharedBody? = nil) {
    guard isOpen, let connection else { return }
    accept()
    let framed = MessageFramer.framed(head, bodyBytes: body?.byteCount ?? 0)
    connection.perform { $0.send(stream, head: framed, body: body) }
  }

  /// Server side: tells the client that the call was accepted, before any message.
  public func accept() {
    guard case .server(var state) = side else { return }
    let action = state.accept()
    side = .server(state)
    if case .sendHeaders(let headers) = action {
      connection?.perform { $0.respond(stream, headers) }
    }
  }

  /// Server side: ends the call after everything queued.
  public func finish(_ status: GRPCStatus) {
    guard case .server(var state) = side, !isOver else { return }
    let action = state.finish(status)
    side = .server(state)
    switch action {
    case .sendTrailersOnly(let headers):
      finished = status
      connection?.perform { $0.respondAndEnd(stream, headers) }
    case .sendTrailers(let trailers):
      finished = status
      connection?.perform { $0.finish(stream, trailers: trailers) }
    case .nothing: break
    }
  }

  /// Server side: ends the call now. What is queued and not yet on its way is dropped, and no peer that
  /// reads slowly holds the status up.
  public func cutShort(_ status: GRPCStatus) {
    guard case .server(var state) = side, !isOver else { return }
    let action = state.finish(status)
    side = .server(state)
    switch action {
    case .sendTrailersOnly(let headers):
      finished = status
      connection?.perform { $0.respondAndEnd(stream, headers) }
    case .sendTrailers, .nothing:
      finished = status
      connection?.perform { $0.cutShort(stream, trailers: ResponseHeaders.trailers(status)) }
    }
  }

  /// Client side: half-closes after everything queued.
  public func end() {
    guard case .client(var state) = side else { return }
    let action = state.halfClose()
    side = .client(state)
    if case .endSending = action { connection?.perform { $0.end(stream) } }
  }

  /// Ends the call at once; the handler hears `callEnded` with CANCELLED.
  public func cancel() {
    guard !isOver else { return }
    let status = GRPCStatus(.cancelled, "cancelled by this side")
    switch side {
    case .client(var state):
      state.cancel(status)
      side = .client(state)
      takeNext()
    case .server:
      connection?.perform { $0.reset(stream, errorCode: HTTP2ErrorCode.cancel) }
      over(status)
    }
  }

  // MARK: events from the connection

  func received(headers: HeaderList, endOfStream: Bool) {
    switch side {
    case .client(var state):
      let action = state.received(headers: headers, endOfStream: endOfStream)
      side = .client(state)
      switch action {
      case .ignore: break
      case .accepted: handler?.callAccepted(self)
      case .takeNext: takeNext()
      }
    case .server(var state):
      // A client's trailers: gRPC gives them no meaning beyond the end.
      if endOfStream { state.receivedEnd() }
      side = .server(state)
      takeNext()
    }
  }

  func received(data: UnsafeRawBufferPointer, endOfStream: Bool) {
    switch side {
    case .client(var state):
      // One owner at a time: a copy of the state would copy its buffer.
      side = .client(ClientCallState(maximumMessageBytes: 0))
      unsafe state.received(data: data, endOfStream: endOfStream)
      side = .client(state)
    case .server(var state):
      unsafe state.received(data: data, endOfStream: endOfStream)
      side = .server(state)
    }
    takeNext()
  }

  func requestEnded() {
    guard case .server(var state) = side else { return }
    state.receivedEnd()
    side = .server(state)
    takeNext()
  }

  func drained() {
    if isOpen { handler?.callDrained(self) }
  }

  /// The HTTP/2 stream is closed.
  func streamClosed(errorCode: UInt32) {
    switch side {
    case .client(var state):
      state.streamClosed(errorCode: errorCode)
      side = .client(state)
      takeNext()
    case .server(var state):
      let action = state.streamClosed()
      side = .server(state)
      switch action {
      case .wasFinished: over(finished ?? .ok)
      case .cancelled(let status): over(status)
      case .nothing: break
      }
    }
  }

  /// The connection is gone or about to be.
  func connectionLost(_ status: GRPCStatus) {
    switch side {
    case .client(var state):
      state.cancel(status)
      state.connectionLost(status.message)
      side = .client(state)
      takeNext()
    case .server: over(status)
    }
  }

  /// Hands on what the state has ready, until it waits.
  private func takeNext() {
    while !isOver {
      switch side {
      case .client(var state):
        let next = state.next()
        side = .client(state)
        switch next {
        case .wait: return
        case .message(let message): handler?.call(self, received: message)
        case .ended(let status, let reset):
          if let reset { connection?.perform { $0.reset(stream, errorCode: reset) } }
          return over(status)
        }
      case .server(var state):
        let next = state.next()
        side = .server(state)
        switch next {
        case .wait: return
        case .message(let message): handler?.call(self, received: message)
        case .requestsDone: handler?.callHalfClosed(self)
        case .fail(let status): return finish(status)
        }
      }
    }
  }

  private func over(_ status: GRPCStatus) {
    guard !isOver else { return }
    isOver = true
    loop?.cancel(deadline)
    let handler = handler
    self.handler = nil
    connection = nil
    handler?.callEnded(self, status)
  }
}
