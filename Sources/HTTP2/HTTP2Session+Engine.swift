// What nghttp2's callbacks do to a session: append events, keep stream records, fill DATA frames.
//
// Everything here runs inside `receive` or `produce`, so nothing here may call nghttp2_session_send
// or _mem_recv. After a failure everything received is dropped: the peer has lost its hearing.

internal import CNghttp2
internal import Primitives

// MARK: Receiving

extension HTTP2Session {
  func beginHeaders(_ id: StreamID) {
    fields = []
    fieldBytes = 0
    guard failure == nil, role == .server, stream(id) == nil else { return }
    streams.append(HTTP2Stream(id: id, sending: .awaitingResponse, isKnownToOwner: false))
  }

  /// Above the limit fields are only counted: nghttp2 must go on decoding to keep its table right.
  func header(name: UnsafeBufferPointer<UInt8>, value: UnsafeBufferPointer<UInt8>) {
    guard failure == nil, fieldBytes <= limits.headerBytes else { return }
    fieldBytes += HeaderField.listBytes(nameBytes: name.count, valueBytes: value.count)
    guard fieldBytes <= limits.headerBytes else {
      fields = []
      return
    }
    fields.append(
      unsafe HeaderField(
        name: String(decoding: name, as: UTF8.self), value: String(decoding: value, as: UTF8.self)))
  }

  func dataReceived(_ id: StreamID, _ bytes: UnsafeRawBufferPointer) {
    guard failure == nil, let stream = stream(id) else { return }
    stream.unconsumed += bytes.count
    // Nobody will take these bytes: their credit goes back with the stream's end.
    guard stream.isKnownToOwner, !stream.isReset else { return }
    unsafe note(.data(id, bytes, endOfStream: false))
  }

  func frameReceived(_ frame: UnsafePointer<nghttp2_frame>) {
    guard failure == nil else { return }
    let header = unsafe frame.pointee.hd
    let id = StreamID(rawValue: header.stream_id)
    let isAcknowledgement = header.flags & UInt8(NGHTTP2_FLAG_ACK.rawValue) != 0
    let isEnd = header.flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) != 0
    switch UInt32(header.type) {
    case NGHTTP2_HEADERS.rawValue: headersReceived(id, endOfStream: isEnd)
    case NGHTTP2_DATA.rawValue: if isEnd { dataEnded(id) }
    case NGHTTP2_RST_STREAM.rawValue: fail(meter.reset(at: now))
    case NGHTTP2_SETTINGS.rawValue where !isAcknowledgement:
      note(.settingsReceived)
      fail(meter.settings(at: now))
    case NGHTTP2_PING.rawValue:
      let payload = unsafe frame.pointee.ping.opaque_data
      pingReceived(payload, isAcknowledgement: isAcknowledgement)
    case NGHTTP2_GOAWAY.rawValue: unsafe goAwayReceived(frame.pointee.goaway)
    default: break
    }
  }

  private func headersReceived(_ id: StreamID, endOfStream: Bool) {
    guard let stream = stream(id), !stream.isReset else { return }
    if endOfStream { stream.peerEnded = true }
    guard fieldBytes <= limits.headerBytes else {
      reset(id, errorCode: HTTP2ErrorCode.enhanceYourCalm)
      fail(meter.reset(at: now))
      return
    }
    stream.isKnownToOwner = true
    note(.headers(id, fields, endOfStream: endOfStream))
    fields = []
  }

  private func dataEnded(_ id: StreamID) {
    guard let stream = stream(id) else { return }
    stream.peerEnded = true
    guard stream.isKnownToOwner, !stream.isReset, !markLastDataAsEnd(of: id) else { return }
    unsafe note(.data(id, UnsafeRawBufferPointer(start: nil, count: 0), endOfStream: true))
  }

  private func pingReceived(
    _ data: (UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8), isAcknowledgement: Bool
  ) {
    guard isAcknowledgement else {
      return fail(meter.ping(at: now))
    }
    let high = [data.0, data.1, data.2, data.3].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
    let low = [data.4, data.5, data.6, data.7].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
    note(.pong(high << 32 | low))
  }

  private func goAwayReceived(_ frame: nghttp2_goaway) {
    let text = unsafe UnsafeBufferPointer(start: frame.opaque_data, count: frame.opaque_data_len)
    unsafe note(
      .goAway(
        lastStream: StreamID(rawValue: frame.last_stream_id), errorCode: frame.error_code,
        debug: String(decoding: text.prefix(HTTP2Session.debugBytesMost), as: UTF8.self)))
  }

  /// Of a peer's GOAWAY text so much is kept: it is for a log line. Unit: bytes.
  private static var debugBytesMost: Int { 256 }

  func streamClosed(_ id: StreamID, errorCode: UInt32) {
    guard let index = streams.lastIndex(where: { $0.id == id }) else { return }
    let stream = streams.remove(at: index)
    creditOfClosedStreams += stream.unconsumed
    if stream.isKnownToOwner { note(.streamClosed(id, errorCode: errorCode)) }
  }
}

// MARK: Producing

extension HTTP2Session {
  /// What may be sent on a stream at this moment.
  enum DataWanted {
    case nothing
    case bytes(Int)
    case lastBytes(Int, trailersFollow: Bool)
  }

  func dataWanted(_ id: StreamID, most: Int) -> DataWanted {
    guard let stream = stream(id), !stream.isReset else { return .nothing }
    let count = min(most, stream.outgoing.unsentBytes)
    if case .ending(let trailers) = stream.sending, count == stream.outgoing.unsentBytes {
      stream.sending = .ended
      guard !trailers.isEmpty else { return .lastBytes(count, trailersFollow: false) }
      return .lastBytes(count, trailersFollow: submitTrailers(id, trailers))
    }
    guard count > 0 else {
      stream.isDeferred = true
      return .nothing
    }
    return .bytes(count)
  }

  /// Appends a whole frame of any kind but DATA; false when the buffer has reached its limit.
  func writeFrame(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard let target, target.count < targetLimit else { return false }
    unsafe target.append(bytes)
    return true
  }

  /// Appends a DATA frame, its `count` bytes read from the stream's queue; true when the buffer is full now.
  func writeData(_ id: StreamID, frameHeader: UnsafeRawBufferPointer, count: Int) -> Bool {
    guard let target else { preconditionFailure("DATA is only written by produce()") }
    let size = frameHeader.count + count
    let space = unsafe UnsafeMutableRawBufferPointer(rebasing: target.writable(minimum: size)[..<size])
    unsafe space.copyMemory(from: frameHeader)
    let payload = unsafe UnsafeMutableRawBufferPointer(rebasing: space[frameHeader.count...])
    if let stream = stream(id), !stream.isReset {
      let read = unsafe stream.outgoing.read(into: payload)
      precondition(read == count, "a DATA frame was announced longer than the stream's queue")
      if count > 0, stream.outgoing.isEmpty { note(.dataSent(id)) }
    } else {
      preconditionFailure("nghttp2 writes DATA of a stream that was reset")
    }
    target.commit(size)
    return target.count >= targetLimit
  }

  func frameWritten(_ frame: UnsafePointer<nghttp2_frame>) {
    let header = unsafe frame.pointee.hd
    switch UInt32(header.type) {
    case NGHTTP2_DATA.rawValue, NGHTTP2_HEADERS.rawValue:
      guard role == .server, header.flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) != 0,
        let stream = stream(StreamID(rawValue: header.stream_id)), !stream.peerEnded
      else { return }
      // The client may go on sending for ever otherwise. RFC 9113 §8.1.
      reset(stream.id, errorCode: HTTP2ErrorCode.noError)
    case NGHTTP2_RST_STREAM.rawValue:
      unsafe resetWritten(errorCode: frame.pointee.rst_stream.error_code)
    case NGHTTP2_GOAWAY.rawValue:
      unsafe goAwayWritten(frame.pointee.goaway)
    default: break
    }
  }

  /// Codes only nghttp2 resets with: frames of the peer forced us (CVE-2025-8671).
  private func resetWritten(errorCode: UInt32) {
    switch errorCode {
    case HTTP2ErrorCode.protocolError, HTTP2ErrorCode.flowControlError, HTTP2ErrorCode.streamClosed,
      HTTP2ErrorCode.frameSizeError:
      fail(meter.reset(at: now))
    default: break
    }
  }

  private func goAwayWritten(_ frame: nghttp2_goaway) {
    let code = unsafe frame.error_code
    guard failure == nil, code != HTTP2ErrorCode.noError, !isGoingAwayByCommand else { return }
    let text = unsafe UnsafeBufferPointer(start: frame.opaque_data, count: frame.opaque_data_len)
    failure = unsafe .violation(errorCode: code, detail: String(decoding: text, as: UTF8.self))
  }
}
