// Where the SPIFFE Workload API listens, as configuration and $SPIFFE_ENDPOINT_SOCKET write it.
// Source: SPIFFE Workload Endpoint, section 4: `unix:///absolute/path` or `tcp://IP:PORT`, and nothing else.

/// An endpoint of the Workload API. The connection to it is plaintext: it never leaves this host or its pod.
public enum WorkloadAPIAddress: Hashable, Sendable, CustomStringConvertible {
  /// An absolute path of 1 to 107 bytes.
  case unix(path: String)
  case tcp(NetworkAddress)

  /// What is wrong with a text: clauses for a problem.
  public struct Fault: Error, Equatable {
    public let what: String
    public let howToFix = "write it like unix:///run/spire/agent/public/api.sock"
  }

  public init(parsing text: String) throws(Fault) {
    if text.hasPrefix("unix:") {
      self = .unix(path: try WorkloadAPIAddress.path(of: String(text.dropFirst("unix:".count))))
    } else if text.hasPrefix("tcp://") {
      self = .tcp(try WorkloadAPIAddress.address(of: String(text.dropFirst("tcp://".count))))
    } else {
      throw Fault(what: "begins neither with unix:// nor with tcp://")
    }
  }

  public var description: String {
    switch self {
    case .unix(let path): "unix://\(path)"
    case .tcp(let address): "tcp://\(address)"
    }
  }

  /// The same as the text of a socket address: `unix:///path` or `IP:PORT`.
  public var socketLiteral: String {
    switch self {
    case .unix: description
    case .tcp(let address): address.description
    }
  }

  private static func path(of rest: String) throws(Fault) -> String {
    // `unix:/path` and `unix:///path`; anything between the second and the third slash would be a host.
    let path = rest.hasPrefix("//") ? String(rest.dropFirst(2)) : rest
    guard path.hasPrefix("/"), !path.hasPrefix("//") else { throw Fault(what: "has no absolute path") }
    guard !path.contains("?"), !path.contains("#") else { throw Fault(what: "has a query or a fragment") }
    // Reason: sun_path of a socket address has 108 bytes with its end.
    guard path.utf8.count < 108, !path.utf8.contains(0) else {
      throw Fault(what: "has a path of more than 107 bytes")
    }
    return path
  }

  private static func address(of rest: String) throws(Fault) -> NetworkAddress {
    let address: NetworkAddress
    do throws(NetworkAddress.Fault) {
      address = try NetworkAddress(parsing: rest)
    } catch {
      throw Fault(what: error.what)
    }
    guard address.isIPAddress, address.port != 0 else { throw Fault(what: "has no IP address and port") }
    return address
  }
}
