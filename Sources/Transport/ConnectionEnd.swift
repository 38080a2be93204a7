// Why a connection ended, as one value: decides the log line, the metric, and what its calls are told.

public import GRPC
public import HTTP2
public import Primitives
public import Ring
public import TLS

/// The one reason a connection is closed for.
public enum ConnectionEnd: Explained {
  /// The socket could not connect, read or write.
  case socket(RingError)
  /// The TLS handshake or a record failed.
  case tls(TLSError)
  /// The peer broke HTTP/2 or exceeded a limit.
  case http2(HTTP2Error)
  /// The peer closed the connection.
  case closedByPeer
  /// The peer said GOAWAY and all calls it kept are done.
  case goneAway(debug: String)
  /// A wait had a deadline and it passed.
  case timedOut(Wait)
  /// This side is done: drained, refused or no longer needed. The text is told to open calls.
  case closedHere(GRPCStatus)

  /// What was waited for.
  public enum Wait: String, Sendable {
    case connect = "the connection to be established"
    case handshake = "the TLS handshake"
    case firstCall = "the first call"
    case silence = "any byte"
    case flush = "the last bytes to be taken"
  }

  public var what: String {
    switch self {
    case .socket(let error): error.what
    case .tls(let error): error.what
    case .http2(let error): error.what
    case .closedByPeer: "the peer closed the connection"
    case .goneAway(let debug):
      debug.isEmpty ? "the peer is going away" : "the peer is going away (\(debug))"
    case .timedOut(let wait): "waited too long for \(wait.rawValue)"
    case .closedHere(let status): "closed by this side: \(status.message)"
    }
  }

  public var why: String {
    switch self {
    case .socket(let error): error.why
    case .tls(let error): error.why
    case .http2(let error): error.why
    default: ""
    }
  }

  public var howToFix: String {
    switch self {
    case .socket(let error): error.howToFix
    case .tls(let error): error.howToFix
    case .http2(let error): error.howToFix
    default: ""
    }
  }

  public var blame: Blame {
    switch self {
    case .socket(let error): error.blame
    case .tls(let error): error.blame
    case .http2(let error): error.blame
    case .closedByPeer, .goneAway, .timedOut: .peer
    case .closedHere: .us
    }
  }

  /// The label of `handshakes_total{result}` for a connection that ended before its peer was verified.
  public var handshakeResult: String {
    switch self {
    case .tls(let error): error.handshakeResult
    case .timedOut: HandshakeResult.timeout.rawValue
    case .closedByPeer, .goneAway, .socket, .closedHere: HandshakeResult.closed.rawValue
    case .http2: HandshakeResult.protocol.rawValue
    }
  }

  /// Whether it was TLS that failed, and not the way to it.
  var isOfHandshake: Bool {
    switch self {
    case .tls, .timedOut(.handshake): true
    case .socket, .http2, .closedByPeer, .goneAway, .timedOut, .closedHere: false
    }
  }

  /// What open calls end with (WIRE: client calls end UNAVAILABLE, server calls CANCELLED).
  func status(for role: HTTP2Session.Role) -> GRPCStatus {
    if case .closedHere(let status) = self { return status }
    return GRPCStatus(role == .client ? .unavailable : .cancelled, what)
  }
}
