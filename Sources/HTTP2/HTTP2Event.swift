// What an HTTP/2 session tells its owner. Taken one by one with `HTTP2Session.nextEvent()`.

/// Something the peer did, or something we queued that has now been written.
@safe
public enum HTTP2Event {
  /// A request, a response (also 1xx) or trailers, whole and within the header limit.
  case headers(StreamID, HeaderList, endOfStream: Bool)
  /// Bytes of a body. They point into the argument of `receive` and die with it. The owner gives
  /// their flow-control credit back by `consumed`. May be empty at the end of a stream.
  case data(StreamID, UnsafeRawBufferPointer, endOfStream: Bool)
  /// The stream is over, in both directions, and its number means nothing any more. After a reset
  /// by either side the code of RST_STREAM; after a regular end NO_ERROR; REFUSED_STREAM when the
  /// peer has certainly not acted on it.
  case streamClosed(StreamID, errorCode: UInt32)
  /// Everything queued on the stream so far has been written into a buffer.
  case dataSent(StreamID)
  /// The peer takes no new streams; those above `lastStream` were closed by it unprocessed.
  case goAway(lastStream: StreamID, errorCode: UInt32, debug: String)
  /// The answer to `ping` with the same payload.
  case pong(UInt64)
  /// The peer's SETTINGS arrived: it really speaks HTTP/2.
  case settingsReceived
}
