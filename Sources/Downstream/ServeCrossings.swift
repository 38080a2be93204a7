// What crosses between the serve loops and the rest of the relay, and nothing else does.
//
// Down: the newest generation and credentials, as immutable values. Up: small reports through one
// bounded mailbox. Across loops: two counters that bound clients in all and per identity.

public import Gates
public import Primitives
public import SPIFFE
import Synchronization
public import TLS
public import Trust

/// Shared by all serve loops of one relay.
public final class ServeCrossings: Sendable {
  /// Nil until something may be served.
  public let generation = Published<Generation?>(nil)
  /// Trust domains of the upstreams: their members pass the handshake, policy decides the rest.
  public let sourceTrustDomains = Published<Set<TrustDomain>>([])
  /// Nil while this host has no usable identity.
  public let credentials = Published<Credentials?>(nil)
  /// Sinks to dial, each by one loop.
  public let sinks = Published<[SinkAssignment]>([])
  /// What `/readyz` says.
  public let readiness = Published<Bool>(false)
  /// What seals session tickets; the same on all loops, so that a client may come back to any. Nil: no tickets.
  public let ticketKeys = Published<TicketKeys?>(nil)
  /// What new connections and streams are bound by.
  public let terms: Published<ServeTerms>
  public let reports: Mailbox<ServeReport>
  public let census: Census

  public init(limits: Limits, minimumTLS: TLSVersion = .tls13, wakeControl: @escaping Waker) {
    terms = Published(ServeTerms(limits: limits, minimumTLS: minimumTLS))
    reports = Mailbox(capacity: limits.controlMailbox, wake: wakeControl)
    census = Census(terms)
  }
}

/// What a serve loop holds its peers to. A reload may change it; what is open goes on as it began.
public struct ServeTerms: Sendable, Equatable {
  public var limits: Limits
  public var minimumTLS: TLSVersion

  public init(limits: Limits, minimumTLS: TLSVersion) {
    self.limits = limits
    self.minimumTLS = minimumTLS
  }
}

/// What a serve loop tells the control loop.
public enum ServeReport: Sendable {
  /// Answer to `ServeCommand.reportClients`.
  case clients(loop: Int, ticket: UInt64, [ClientFacts], sinks: [SinkFacts])
  /// A client asks for the streams of its identity, on all loops. Answered by `ServeCommand.streams`.
  case wantsStreams(loop: Int, ticket: UInt64, of: SPIFFEID, ClientStatusQuery)
  /// Answer to `ServeCommand.describeStreams`.
  case streams(loop: Int, ticket: UInt64, [StreamDescription])
  /// Answer to `ServeCommand.beat`.
  case alive(loop: Int)
  /// Something an operator may want to read about. `omitted`: so many like it were not told of.
  case noted(ServeNote, omitted: Int)
  /// Answer to `ServeCommand.drain`: the last client is gone.
  case drained(loop: Int)
}

/// What the control loop asks of a serve loop.
public enum ServeCommand: Sendable {
  case reportClients(ticket: UInt64)
  /// Answer with `ServeReport.streams`: those of one identity on this loop.
  case describeStreams(of: SPIFFEID, ClientStatusQuery, ticket: UInt64)
  /// Answer to `ServeReport.wantsStreams`.
  case streams(ticket: UInt64, [StreamDescription])
  /// Answer with `ServeReport.alive`.
  case beat
  /// Stop accepting, end what is open within the time.
  case drain(Duration)
  /// End the loop itself; after `drain`.
  case stop
}

/// One client as status shows it.
public struct ClientFacts: Sendable {
  public var id: SPIFFEID
  public var cluster: String
  public var address: String
  /// `sotw`, `delta`, `mcp`, `mcp-aggregated` or `sink`.
  public var dialect: String
  public var connectedAt: Timestamp
  public var subscriptions: [SubscriptionFacts]
}

public struct SubscriptionFacts: Sendable {
  public var typeURL: String
  public var sent: String?
  public var acknowledged: String?
  public var rejections: Int
  public var lastRejection: String?
}

/// Events on the descent that belong in the journal. Foreign text inside is bounded by its maker.
public enum ServeNote: Sendable {
  case handshakeFailed(address: String, reason: String)
  case connected(SPIFFEID, cluster: String, address: String)
  case disconnected(SPIFFEID, cluster: String, address: String, reason: String)
  case refused(SPIFFEID, address: String, reason: String)
  case ended(SPIFFEID, cluster: String, reason: String)
  case rejected(SPIFFEID, cluster: String, typeURL: String, version: String, message: String)
  case brokeProtocol(SPIFFEID, cluster: String, message: String)
  /// A sink that we dial is not served.
  case sinkFailed(address: String, reason: String)
}

/// Counts clients over all loops, in all and per identity. Touched at connect and disconnect only.
public final class Census: Sendable {
  private struct Counts {
    var all = 0
    var byIdentity: [SPIFFEID: Int] = [:]
  }
  private let terms: Published<ServeTerms>
  private let counts = Mutex(Counts())

  init(_ terms: Published<ServeTerms>) { self.terms = terms }

  public var clients: Int { counts.withLock { $0.all } }

  /// False when a limit is reached; the caller must not serve the client then.
  func enter(_ id: SPIFFEID) -> Bool {
    let limits = terms.value.limits
    return counts.withLock { counts in
      let own = counts.byIdentity[id, default: 0]
      guard counts.all < limits.clients, own < limits.clientsPerIdentity else { return false }
      counts.all += 1
      counts.byIdentity[id] = own + 1
      return true
    }
  }

  func leave(_ id: SPIFFEID) {
    counts.withLock { counts in
      guard let own = counts.byIdentity[id] else { return }
      counts.all -= 1
      counts.byIdentity[id] = own > 1 ? own - 1 : nil
    }
  }
}
