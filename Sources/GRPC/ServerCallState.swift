// The server's end of one call: whose turn it is, and that it ends once.
//
// Source: "gRPC over HTTP/2". A value without a stream: the owner carries out what is returned.
// Begins after `RequestHead` took the headers; a call that was refused there has no state.

public import HTTP2

/// A call a client made.
///
///     requests:   open ──END_STREAM──► done          (either may end first)
///     response:   awaitingHeaders ──accept──► streaming ──finish──► finished
///                        └───────────finish (Trailers-Only)────────────▲
///                 any ──stream closed or connection lost──► gone
public struct ServerCallState: Sendable {
  private enum Response {
    case awaitingHeaders
    case streaming
    case finished
    case gone
  }

  private var response: Response = .awaitingHeaders
  private var deframer: MessageDeframer
  private var isRequestDone = false
  private var isRequestDoneReported = false

  /// - Parameter maximumMessageBytes: of one request message.
  public init(head: RequestHead, maximumMessageBytes: Int) {
    deframer = MessageDeframer(
      maximumBytes: maximumMessageBytes, compressedStatus: head.compressedStatus)
  }

  // MARK: Requests

  /// DATA of the stream; then take what `next` gives.
  public mutating func received(data: UnsafeRawBufferPointer, endOfStream: Bool) {
    if endOfStream { isRequestDone = true }
    guard isOpen else { return }
    unsafe deframer.append(data)
  }

  /// END_STREAM on the request's headers, or trailers: gRPC gives a client's trailers no meaning.
  public mutating func receivedEnd() { isRequestDone = true }

  public enum OnNext: Sendable, Hashable {
    case wait
    case message([UInt8])
    /// The client has sent everything; said once.
    case requestsDone
    /// The call cannot go on: `finish` it with this status.
    case fail(GRPCStatus)
  }

  /// Request messages in order, then their end. Take until it says something else than `message`.
  public mutating func next() -> OnNext {
    guard isOpen else { return .wait }
    do {
      if let message = try deframer.next() { return .message(message) }
    } catch {
      return .fail(error)
    }
    guard isRequestDone, !isRequestDoneReported else { return .wait }
    isRequestDoneReported = true
    guard deframer.isBetweenMessages else {
      return .fail(GRPCStatus(.internalError, "the client ended the call within a message"))
    }
    return .requestsDone
  }

  // MARK: Response

  public enum OnAccept: Sendable, Hashable {
    /// Send these; the stream stays open.
    case sendHeaders(HeaderList)
    /// Already accepted, or over.
    case nothing
  }

  /// Before the first message, as early as may be.
  public mutating func accept() -> OnAccept {
    switch response {
    case .awaitingHeaders:
      response = .streaming
      return .sendHeaders(ResponseHeaders.accepted)
    case .streaming, .finished, .gone:
      return .nothing
    }
  }

  public enum OnFinish: Sendable, Hashable {
    /// No headers were sent: answer with these alone and END_STREAM.
    case sendTrailersOnly(HeaderList)
    /// After everything queued, with END_STREAM.
    case sendTrailers(HeaderList)
    /// Already finished, or nobody is there to tell.
    case nothing
  }

  /// The call's one status. The first counts.
  public mutating func finish(_ status: GRPCStatus) -> OnFinish {
    switch response {
    case .awaitingHeaders:
      end(.finished)
      return .sendTrailersOnly(ResponseHeaders.trailersOnly(status))
    case .streaming:
      end(.finished)
      return .sendTrailers(ResponseHeaders.trailers(status))
    case .finished, .gone:
      return .nothing
    }
  }

  public enum OnClosed: Sendable, Hashable {
    /// We had finished it: the regular end.
    case wasFinished
    /// The client is gone before its answer was complete.
    case cancelled(GRPCStatus)
    case nothing
  }

  /// The stream closed (HTTP/2 `streamClosed`) or its connection is gone.
  public mutating func streamClosed() -> OnClosed {
    defer { end(.gone) }
    switch response {
    case .awaitingHeaders, .streaming: return .cancelled(GRPCStatus(.cancelled, "the client is gone"))
    case .finished: return .wasFinished
    case .gone: return .nothing
    }
  }

  /// A response message may be sent now.
  public var maySend: Bool { if case .streaming = response { true } else { false } }

  private var isOpen: Bool {
    switch response {
    case .awaitingHeaders, .streaming: true
    case .finished, .gone: false
    }
  }

  private mutating func end(_ last: Response) {
    response = last
    deframer = MessageDeframer(maximumBytes: 0)
  }
}
