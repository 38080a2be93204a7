// The C edge of HTTP2: nghttp2's callbacks as thin translations into methods of HTTP2Session.
//
// No callback calls nghttp2_session_send or _mem_recv (it is not re-entrant); they check, note, return.
// One callbacks object serves every session of the process: nghttp2 copies it at session creation.

internal import CNghttp2

/// Owner of the one `nghttp2_session_callbacks`; immutable after `init`, so loops may share it.
@safe
final class SessionCallbacks: Sendable {
  static let shared = SessionCallbacks()

  nonisolated(unsafe) let pointer: OpaquePointer

  private init() {
    var created: OpaquePointer?
    guard unsafe nghttp2_session_callbacks_new(&created) == 0, let callbacks = unsafe created else {
      preconditionFailure("no memory for the table of nghttp2 callbacks")
    }
    unsafe pointer = callbacks
    setReceivingCallbacks()
    setSendingCallbacks()
  }

  deinit { unsafe nghttp2_session_callbacks_del(pointer) }

  private func setReceivingCallbacks() {
    unsafe nghttp2_session_callbacks_set_on_begin_headers_callback(pointer) { _, frame, context in
      guard let session = unsafe session(context), let frame = unsafe frame else { return 0 }
      session.beginHeaders(StreamID(rawValue: unsafe frame.pointee.hd.stream_id))
      return 0
    }
    unsafe nghttp2_session_callbacks_set_on_header_callback(pointer) {
      _, _, name, nameBytes, value, valueBytes, _, context in
      guard let session = unsafe session(context) else { return 0 }
      unsafe session.header(
        name: UnsafeBufferPointer(start: name, count: nameBytes),
        value: UnsafeBufferPointer(start: value, count: valueBytes))
      return 0
    }
    unsafe nghttp2_session_callbacks_set_on_data_chunk_recv_callback(pointer) {
      _, _, stream, bytes, count, context in
      guard let session = unsafe session(context) else { return 0 }
      unsafe session.dataReceived(
        StreamID(rawValue: stream), UnsafeRawBufferPointer(start: bytes, count: count))
      return 0
    }
    unsafe nghttp2_session_callbacks_set_on_frame_recv_callback(pointer) { _, frame, context in
      guard let session = unsafe session(context), let frame = unsafe frame else { return 0 }
      unsafe session.frameReceived(frame)
      return 0
    }
    unsafe nghttp2_session_callbacks_set_on_stream_close_callback(pointer) { _, stream, code, context in
      guard let session = unsafe session(context) else { return 0 }
      session.streamClosed(StreamID(rawValue: stream), errorCode: code)
      return 0
    }
  }

  private func setSendingCallbacks() {
    unsafe nghttp2_session_callbacks_set_send_callback(pointer) { _, bytes, count, _, context in
      guard let session = unsafe session(context) else { return Int(NGHTTP2_ERR_CALLBACK_FAILURE.rawValue) }
      let frame = unsafe UnsafeRawBufferPointer(start: bytes, count: count)
      return unsafe session.writeFrame(frame) ? count : Int(NGHTTP2_ERR_WOULDBLOCK.rawValue)
    }
    unsafe nghttp2_session_callbacks_set_send_data_callback(pointer) {
      _, frame, header, count, _, context in
      guard let session = unsafe session(context), let frame = unsafe frame, let header = unsafe header
      else { return NGHTTP2_ERR_CALLBACK_FAILURE.rawValue }
      let isFull = unsafe session.writeData(
        StreamID(rawValue: frame.pointee.hd.stream_id),
        frameHeader: UnsafeRawBufferPointer(start: header, count: HTTP2Session.frameHeaderBytes), count: count
      )
      return isFull ? NGHTTP2_ERR_PAUSE.rawValue : 0
    }
    unsafe nghttp2_session_callbacks_set_on_frame_send_callback(pointer) { _, frame, context in
      guard let session = unsafe session(context), let frame = unsafe frame else { return 0 }
      unsafe session.frameWritten(frame)
      return 0
    }
  }
}

/// The session a callback is about. nghttp2 calls back only while `HTTP2Session` is inside one of its calls.
private func session(_ context: UnsafeMutableRawPointer?) -> HTTP2Session? {
  guard let context = unsafe context else { return nil }
  return unsafe Unmanaged<HTTP2Session>.fromOpaque(context).takeUnretainedValue()
}

/// nghttp2's question "what may be sent on this stream now?", asked when a DATA frame is to be made.
let readQueuedData: nghttp2_data_source_read_callback = { _, stream, _, most, flags, _, context in
  guard let session = unsafe session(context), let flags = unsafe flags else {
    return Int(NGHTTP2_ERR_CALLBACK_FAILURE.rawValue)
  }
  switch session.dataWanted(StreamID(rawValue: stream), most: most) {
  case .nothing:
    return Int(NGHTTP2_ERR_DEFERRED.rawValue)
  case .bytes(let count):
    unsafe flags.pointee |= NGHTTP2_DATA_FLAG_NO_COPY.rawValue
    return count
  case .lastBytes(let count, let trailersFollow):
    unsafe flags.pointee |= NGHTTP2_DATA_FLAG_NO_COPY.rawValue | NGHTTP2_DATA_FLAG_EOF.rawValue
    if trailersFollow { unsafe flags.pointee |= NGHTTP2_DATA_FLAG_NO_END_STREAM.rawValue }
    return count
  }
}
