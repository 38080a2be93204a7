// The constants of our HTTP/2 sessions, and how nghttp2 is told: SETTINGS, windows, options.
//
// RFC 9113 §6.5.2 (settings), §6.9 (flow control). Rates are bounded by FloodMeter, not by nghttp2,
// whose own limiter reads a clock.

internal import CNghttp2
internal import Primitives

enum SessionSettings {
  /// Bytes a peer may send on one stream before we give credit back. Clients send subscriptions
  /// (names), upstreams snapshots of many MiB: 64 KiB would cost them a round trip each 64 KiB.
  static func streamWindow(_ role: HTTP2Session.Role) -> UInt32 {
    switch role {
    case .server: 1 << 20
    case .client: 4 << 20
    }
  }

  /// Bytes on all streams together: several streams may stand still without stopping the others.
  static func connectionWindow(_ role: HTTP2Session.Role) -> Int32 {
    Int32(4 * streamWindow(role))
  }

  /// Bytes of each HPACK table. Reason: gRPC headers of one connection repeat and fit; 4 KiB twice per
  /// client buys nothing.
  static let headerTableBytes = 1024

  /// Acknowledgements that may wait because the peer does not read. Reason: 17 bytes each, and an honest
  /// peer waits for the answer to its PING.
  static let unreadAcknowledgements = 64

  /// The frames that go out first: SETTINGS, then the larger connection window.
  static func submit(to session: OpaquePointer, role: HTTP2Session.Role, limits: Limits) -> Int32 {
    var entries = [
      entry(NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, UInt32(headerTableBytes)),
      entry(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, streamWindow(role)),
      entry(NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, UInt32(clamping: limits.headerBytes)),
    ]
    switch role {
    case .server:
      let streams = UInt32(clamping: limits.streamsPerConnection)
      entries.append(entry(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, streams))
    case .client:
      entries.append(entry(NGHTTP2_SETTINGS_ENABLE_PUSH, 0))
    }
    let flags = UInt8(NGHTTP2_FLAG_NONE.rawValue)
    let result = unsafe nghttp2_submit_settings(session, flags, entries, entries.count)
    guard result == 0 else { return result }
    return unsafe nghttp2_session_set_local_window_size(session, flags, 0, connectionWindow(role))
  }

  /// Runs `body` with the options of a new session; nil when there is no memory for them.
  static func withOptions<R>(_ limits: Limits, _ body: (OpaquePointer) -> R) -> R? {
    var created: OpaquePointer?
    guard unsafe nghttp2_option_new(&created) == 0, let options = unsafe created else { return nil }
    defer { unsafe nghttp2_option_del(options) }
    unsafe nghttp2_option_set_no_auto_window_update(options, 1)
    unsafe nghttp2_option_set_no_closed_streams(options, 1)
    unsafe nghttp2_option_set_max_deflate_dynamic_table_size(options, headerTableBytes)
    unsafe nghttp2_option_set_max_outbound_ack(options, unreadAcknowledgements)
    unsafe nghttp2_option_set_max_continuations(options, limits.continuations)
    // FloodMeter ends a session long before this; a bound of its own kind stays as the second wall.
    unsafe nghttp2_option_set_stream_reset_rate_limit(options, 1_000_000, 10_000)
    return unsafe body(options)
  }

  private static func entry(_ id: nghttp2_settings_id, _ value: UInt32) -> nghttp2_settings_entry {
    nghttp2_settings_entry(settings_id: Int32(id.rawValue), value: value)
  }
}
