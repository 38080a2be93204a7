// The client's end of one call: what HTTP/2 events mean until the call has its one status.
//
// Source: "gRPC over HTTP/2". A value without a stream: the owner carries out what is returned.
// Exactly one status is reported per call, whatever the server does; what comes later is ignored.

public import HTTP2

/// A call we made, of any kind (unary, streaming, bidirectional).
///
///     awaitingHeaders ──headers──► awaitingMessages ──trailers──► closed
///        │    ▲  └ 1xx ignored           │                          ▲
///        │    └──┘                       └── not gRPC, reset, lost ─┤
///        └───────── Trailers-Only, not gRPC, reset, lost ───────────┘
///
/// The sending half is separate: `halfClose` may come at any time before the end.
public struct ClientCallState: Sendable {
  private enum State {
    case awaitingHeaders
    case awaitingMessages
    /// The status waits until the messages before it are taken.
    case ending(GRPCStatus)
    case closed
  }

  private var state: State = .awaitingHeaders
  private var deframer: MessageDeframer
  private var isSendingClosed = false
  /// END_STREAM came from the server, or the stream is gone: a reset would reach nobody.
  private var isReceivingClosed = false

  /// - Parameter maximumMessageBytes: of one response message.
  public init(maximumMessageBytes: Int) {
    deframer = MessageDeframer(maximumBytes: maximumMessageBytes)
  }

  public enum OnHeaders: Sendable, Hashable {
    /// 1xx, or after the end.
    case ignore
    /// The server took the call; its metadata. Messages may follow.
    case accepted(HeaderList)
    /// Now take what `next` gives.
    case takeNext
  }

  /// A header block of the stream: response headers or trailers.
  public mutating func received(headers: HeaderList, endOfStream: Bool) -> OnHeaders {
    if endOfStream { isReceivingClosed = true }
    switch state {
    case .awaitingHeaders:
      return responseReceived(headers, endOfStream: endOfStream)
    case .awaitingMessages:
      state = .ending(endOfStream ? finalStatus(headers) : notTrailers)
      return .takeNext
    case .ending, .closed:
      return .ignore
    }
  }

  /// DATA of the stream; then take what `next` gives.
  public mutating func received(data: UnsafeRawBufferPointer, endOfStream: Bool) {
    if endOfStream { isReceivingClosed = true }
    switch state {
    case .awaitingMessages:
      unsafe deframer.append(data)
      guard endOfStream else { return }
      state = .ending(GRPCStatus(.internalError, "the server ended the stream without trailers"))
    case .awaitingHeaders:
      state = .ending(GRPCStatus(.internalError, "the server sent data before headers"))
    case .ending, .closed:
      return
    }
  }

  public enum OnNext: Sendable, Hashable {
    case wait
    case message([UInt8])
    /// The call is over; reported once. `reset`: the stream is still open, reset it with this code.
    case ended(GRPCStatus, reset: UInt32?)
  }

  /// Messages in order, then the call's end. Take until it says `wait` or `ended`.
  public mutating func next() -> OnNext {
    if case .closed = state { return .wait }
    do {
      if let message = try deframer.next() { return .message(message) }
    } catch {
      return close(error)
    }
    guard case .ending(let status) = state else { return .wait }
    return close(status)
  }

  /// The stream closed (HTTP/2 `streamClosed`); then take what `next` gives.
  public mutating func streamClosed(errorCode: UInt32) {
    isReceivingClosed = true
    isSendingClosed = true
    end(GRPCStatus(resetCode: errorCode))
  }

  /// The connection is gone; then take what `next` gives.
  public mutating func connectionLost(_ reason: String = "the connection was lost") {
    isReceivingClosed = true
    isSendingClosed = true
    end(GRPCStatus(.unavailable, reason))
  }

  /// We end the call: a passed deadline, or no more interest. The first end counts.
  public mutating func cancel(_ status: GRPCStatus = GRPCStatus(.cancelled)) { end(status) }

  public enum OnHalfClose: Sendable, Hashable {
    /// End the sending half of the stream.
    case endSending
    /// It has ended already, or the call is over.
    case nothing
  }

  /// We have no more request messages.
  public mutating func halfClose() -> OnHalfClose {
    switch state {
    case .awaitingHeaders, .awaitingMessages, .ending:
      guard !isSendingClosed else { return .nothing }
      isSendingClosed = true
      return .endSending
    case .closed:
      return .nothing
    }
  }

  /// A request message may still be sent.
  public var maySend: Bool {
    switch state {
    case .awaitingHeaders, .awaitingMessages: !isSendingClosed
    case .ending, .closed: false
    }
  }

  public var isOver: Bool { if case .closed = state { true } else { false } }

  // MARK: Steps

  private mutating func responseReceived(_ fields: HeaderList, endOfStream: Bool) -> OnHeaders {
    let http = ResponseParsing.httpStatus(in: fields)
    if let http, (100..<200).contains(http), !endOfStream { return .ignore }
    guard http == 200, ContentType.isGRPC(fields["content-type"] ?? "") else {
      state = .ending(ResponseParsing.status(in: fields) ?? GRPCStatus(httpStatus: http ?? 0))
      return .takeNext
    }
    guard !endOfStream else {
      state = .ending(ResponseParsing.status(in: fields) ?? GRPCStatus(httpStatus: 200))
      return .takeNext
    }
    state = .awaitingMessages
    return .accepted(ResponseParsing.metadata(in: fields))
  }

  /// OK does not hide a message cut off in the middle.
  private func finalStatus(_ trailers: HeaderList) -> GRPCStatus {
    let status = ResponseParsing.status(in: trailers) ?? GRPCStatus(httpStatus: 200)
    guard status.code == .ok, !deframer.isBetweenMessages else { return status }
    return GRPCStatus(.internalError, "the server ended the call within a message")
  }

  private var notTrailers: GRPCStatus {
    GRPCStatus(.internalError, "the server sent a second block of headers that is not the end")
  }

  private mutating func end(_ status: GRPCStatus) {
    switch state {
    case .awaitingHeaders, .awaitingMessages: state = .ending(status)
    case .ending, .closed: return
    }
  }

  private mutating func close(_ status: GRPCStatus) -> OnNext {
    state = .closed
    deframer = MessageDeframer(maximumBytes: 0)
    let isStreamOpen = !(isReceivingClosed && isSendingClosed)
    isSendingClosed = true
    return .ended(status, reset: isStreamOpen ? resetCode : nil)
  }

  /// A server that has ended regularly is told so; all else is a client's cancellation.
  private var resetCode: UInt32 { isReceivingClosed ? HTTP2ErrorCode.noError : HTTP2ErrorCode.cancel }
}
