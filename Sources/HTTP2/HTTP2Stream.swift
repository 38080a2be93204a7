// One stream as this side sees it: what is still to be sent and how it will end.
//
//   open ──finish──► ending ──last DATA or trailers written──► ended ──► closed (record removed)
//     └──────────────── reset by either side ────────────────────────────────▲

/// Life of the sending half. The receiving half is nghttp2's business, but for two facts kept beside.
final class HTTP2Stream {
  enum Sending {
    /// Server: no response yet. A request opens its stream at once, so a client never is here.
    case awaitingResponse
    /// DATA may be queued.
    case open
    /// Ends after what is queued; without trailers by END_STREAM on DATA.
    case ending(trailers: HeaderList)
    /// END_STREAM is on its way: nothing may follow.
    case ended
  }

  let id: StreamID
  var sending: Sending
  var outgoing = OutgoingQueue()
  /// nghttp2 asked for data when there was none: it must be told when there is.
  var isDeferred = false
  /// The owner has had a `headers` event of it or opened it, so it gets `streamClosed` too.
  var isKnownToOwner: Bool
  /// The peer's END_STREAM arrived.
  var peerEnded = false
  /// RST_STREAM is queued: nothing of it is of interest any more.
  var isReset = false
  /// DATA bytes handed out by events whose credit has not been given back by `consumed`.
  var unconsumed = 0

  init(id: StreamID, sending: Sending, isKnownToOwner: Bool) {
    self.id = id
    self.sending = sending
    self.isKnownToOwner = isKnownToOwner
  }
}
