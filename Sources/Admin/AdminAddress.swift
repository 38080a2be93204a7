// Where a relay's admin interface is: the values of the configuration's `admin` and of `--admin`.

public import Primitives

/// A Unix socket (everything may be asked there) or a loopback TCP port (probes and metrics only).
public enum AdminAddress: Sendable, Hashable, CustomStringConvertible {
  /// Absolute path.
  case unix(path: String)
  /// `host` is an IP literal of this host's loopback, without brackets, or `localhost`.
  case loopback(host: String, port: UInt16)

  /// Bytes of the longest path a Unix socket can be bound to (`sun_path` less its NUL).
  public static let pathBytesMax = 107

  /// Where a relay listens that was told nothing else.
  public static let standard = AdminAddress.unix(path: "/run/meshrelay/admin.sock")

  /// Reads `unix:///path`, `unix:/path`, `/path`, `127.0.0.1:15014`, `[::1]:15014` or `localhost:15014`.
  public init(parsing text: String) throws(AdminAddressError) {
    if text.hasPrefix("unix:") || text.hasPrefix("/") {
      var path = Substring(text)
      if path.hasPrefix("unix:") { path.removeFirst("unix:".count) }
      if path.hasPrefix("//") { path.removeFirst(2) }
      guard path.hasPrefix("/") else { throw .notAbsolute(text) }
      guard path.utf8.count <= AdminAddress.pathBytesMax else { throw .pathTooLong(text) }
      self = .unix(path: String(path))
      return
    }
    guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]) else {
      throw .notAnAddress(text)
    }
    var host = text[..<colon]
    if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
    guard AdminAddress.isLoopback(host) else { throw .notLoopback(text) }
    self = .loopback(host: String(host), port: port)
  }

  /// `127.0.0.0/8` in dotted form, `::1` and `localhost`; names are not resolved here.
  private static func isLoopback(_ host: Substring) -> Bool {
    if host == "::1" || host == "localhost" { return true }
    let parts = host.split(separator: ".", omittingEmptySubsequences: false)
    return parts.count == 4 && parts[0] == "127" && parts.allSatisfy { UInt8($0) != nil }
  }

  public var description: String {
    switch self {
    case .unix(let path): "unix://" + path
    case .loopback(let host, let port): host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    }
  }
}

public enum AdminAddressError: Explained, Equatable {
  case notAbsolute(String)
  case pathTooLong(String)
  case notAnAddress(String)
  case notLoopback(String)

  public var what: String {
    switch self {
    case .notAbsolute(let text): "The admin socket '\(text)' has no absolute path"
    case .pathTooLong(let text): "The admin socket path '\(text)' is too long"
    case .notAnAddress(let text): "'\(text)' is no admin address"
    case .notLoopback(let text): "The admin address '\(text)' is not on loopback"
    }
  }

  public var why: String {
    switch self {
    case .notAbsolute, .notAnAddress: ""
    case .pathTooLong: "The kernel takes at most \(AdminAddress.pathBytesMax) bytes"
    case .notLoopback: "Admin TCP has no authentication, so other hosts must not reach it"
    }
  }

  public var howToFix: String { "Use unix:///run/meshrelay/admin.sock or 127.0.0.1:15014" }
  public var blame: Blame { .operator }
}
