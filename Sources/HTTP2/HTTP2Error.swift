// Why an HTTP/2 session cannot go on. One enum for the room; a stream's end is an event, not an error.

public import Primitives

/// Frames a peer may send only so many of, because each costs us more than it costs the peer.
public enum Flood: String, Sendable {
  /// RST_STREAM, or frames that force us to send one (CVE-2023-44487, CVE-2025-8671).
  case resets = "stream resets"
  /// SETTINGS without ACK.
  case settings = "SETTINGS frames"
  /// PING without ACK.
  case pings = "PING frames"
  /// CONTINUATION after one HEADERS (CVE-2024-28182).
  case continuations = "CONTINUATION frames"
  /// Acknowledgements that wait because the peer does not read them (CVE-2019-9512, CVE-2019-9515).
  case acknowledgements = "unread acknowledgements"
}

/// Ends the session it comes from.
public enum HTTP2Error: Explained, Equatable {
  /// A client's first bytes were not the HTTP/2 connection preface. RFC 9113 §3.4.
  case notHTTP2
  /// More of `kind` than the limit (per second for resets, settings and pings).
  case flood(Flood, limit: Int)
  /// The peer broke RFC 9113; it was told by GOAWAY with this code. `detail` is nghttp2's reason.
  case violation(errorCode: UInt32, detail: String)
  /// `request` on a session that is going away or has used up its stream numbers.
  case noNewStreams
  /// nghttp2 gave up for a reason that is not the peer's.
  case engine(code: Int32, reason: String)

  public var what: String {
    switch self {
    case .notHTTP2: "The first bytes are not an HTTP/2 connection preface"
    case .flood(let kind, let limit): "The peer sent more than \(limit) \(kind.rawValue)"
    case .violation(let code, let detail):
      "The peer broke the HTTP/2 protocol (error code \(code))" + (detail.isEmpty ? "" : ": \(detail)")
    case .noNewStreams: "The HTTP/2 connection takes no new streams"
    case .engine(let code, let reason): "nghttp2 failed with \(code): \(reason)"
    }
  }

  public var why: String {
    switch self {
    case .notHTTP2: "Probably an HTTP/1.1 client, or a port that is not meant for it"
    case .flood: "A broken or hostile peer"
    case .violation: ""
    case .noNewStreams: "It is going away, or all stream numbers are used"
    case .engine: "Probably out of memory"
    }
  }

  public var howToFix: String {
    switch self {
    case .notHTTP2: "Speak gRPC over HTTP/2 with ALPN h2"
    case .flood: "Raise the matching key of `limits` if the peer is right to do so"
    case .violation: ""
    case .noNewStreams: "Open a new connection"
    case .engine: ""
    }
  }

  public var blame: Blame {
    switch self {
    case .notHTTP2, .flood, .violation: .peer
    case .noNewStreams, .engine: .us
    }
  }
}
