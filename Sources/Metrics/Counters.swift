// What is counted on the loops, as closed sets: a label value that is not a case here cannot appear, so
// the number of series is known before the first client connects. Names: docs/metrics.md (a contract).

/// How a TLS handshake with its SVID verification ended. Label `result`.
public enum HandshakeResult: String, CaseIterable, Sendable {
  case ok
  case noCertificate = "no_certificate"
  case untrusted
  case expired
  case badID = "bad_id"
  case wrongID = "wrong_id"
  case alpn
  case `protocol`
  case timeout
  case closed
}

/// Why a verified peer was turned away or its stream ended. Label `reason`.
public enum RefusalReason: String, CaseIterable, Sendable {
  case noCluster = "no_cluster"
  case blocked
  case limit
  case expired
  case bundleRemoved = "bundle_removed"
  case policy
  case `protocol`
}

/// What a client speaks. Label `protocol`.
public enum ServedDialect: String, CaseIterable, Sendable {
  case sotw
  case delta
  case mcp
  case mcpAggregated = "mcp_aggregated"
  case sink
}

/// One counter series. Grows only; starts at 0 with the process.
public enum Counter: Sendable, Hashable {
  case handshakes(HandshakeResult)
  case refused(RefusalReason)
  case requests(ServedDialect)
  case pushes(ServedDialect)
  /// Bytes of response messages, before TLS.
  case pushedBytes
  case acks
  case nacks
  /// Good handshakes that were short because the client came back with a ticket.
  case resumptions

  /// Every series, in the order of their slots.
  static let all: [Counter] =
    HandshakeResult.allCases.map(Counter.handshakes) + RefusalReason.allCases.map(Counter.refused)
    + ServedDialect.allCases.map(Counter.requests) + ServedDialect.allCases.map(Counter.pushes)
    + [.pushedBytes, .acks, .nacks, .resumptions]

  /// Position in a shard: 0 ≤ slot < `MetricShard.counterSlots`. The tests hold it against `all`.
  var slot: Int {
    switch self {
    case .handshakes(let result): result.position
    case .refused(let reason): 10 + reason.position
    case .requests(let served): 17 + served.position
    case .pushes(let served): 22 + served.position
    case .pushedBytes: 27
    case .acks: 28
    case .nacks: 29
    case .resumptions: 30
    }
  }
}

extension HandshakeResult {
  fileprivate var position: Int {
    switch self {
    case .ok: 0
    case .noCertificate: 1
    case .untrusted: 2
    case .expired: 3
    case .badID: 4
    case .wrongID: 5
    case .alpn: 6
    case .protocol: 7
    case .timeout: 8
    case .closed: 9
    }
  }
}

extension RefusalReason {
  fileprivate var position: Int {
    switch self {
    case .noCluster: 0
    case .blocked: 1
    case .limit: 2
    case .expired: 3
    case .bundleRemoved: 4
    case .policy: 5
    case .protocol: 6
    }
  }
}

extension ServedDialect {
  fileprivate var position: Int {
    switch self {
    case .sotw: 0
    case .delta: 1
    case .mcp: 2
    case .mcpAggregated: 3
    case .sink: 4
    }
  }
}

/// What goes up and down on a loop; the scrape adds up all loops.
public enum Gauge: Int, CaseIterable, Sendable {
  /// Verified clients connected.
  case clients
  /// Clients with a response that was not acknowledged in time.
  case clientsLagging
}

/// What takes time.
public enum Histogram: Int, CaseIterable, Sendable {
  /// From the publication of a generation to a client's ACK of it.
  case push
  /// From the publication at the origin to its arrival here; clocks of two hosts.
  case propagation
}
