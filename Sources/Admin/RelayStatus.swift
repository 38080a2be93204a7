// What a relay says about itself: the values behind `GET /status`, and nothing else.
//
// The shape is a contract (docs/status.md): scripts and dashboards read these names. A field may be
// added; none may change its name, type or meaning. Encoding is in StatusEncoding.swift; decoding is
// the compiler's own, so that the two cannot drift apart unseen (the tests go there and back).
// No clock, no I/O, no live object: whoever fills these in has copied the facts out of its loop.

public import Primitives

/// The whole of `/status`.
public struct RelayStatus: Sendable, Equatable, Decodable {
  /// `node` of the configuration.
  public var node: String
  /// The program's version, as `meshrelay --version` prints it.
  public var version: String
  /// Same answer as `/readyz`.
  public var ready: Bool
  /// Why not ready; empty when ready.
  public var reasons: [String]
  /// Nil until a first SVID was loaded.
  public var identity: IdentityStatus?
  public var config: ConfigStatus
  public var policy: PolicyStatus
  /// Nil when none is configured.
  public var shadow: ShadowStatus?
  /// Nil until a first snapshot is complete or was restored.
  public var snapshot: SnapshotStatus?
  /// In order of preference, as configured.
  public var sources: [SourceStatus]
  public var clients: [ClientStatus]
  /// Sinks that we dial, by address.
  public var push: [SinkStatus]
  public var gates: [GateStatus]
  public var audit: AuditStatus
  /// Whether what is served would outlive a restart.
  public var store: StoreStatus
  /// The driver in use: `io_uring`, `epoll` or `simulated`.
  public var io: String
  /// Why it is not io_uring; nil when it is, or when the operator asked for another.
  public var ioReason: String?

  public init(
    node: String, version: String, readiness: Readiness, identity: IdentityStatus? = nil,
    config: ConfigStatus, policy: PolicyStatus, shadow: ShadowStatus? = nil, snapshot: SnapshotStatus? = nil,
    sources: [SourceStatus] = [], clients: [ClientStatus] = [], push: [SinkStatus] = [],
    gates: [GateStatus] = [], audit: AuditStatus, store: StoreStatus = StoreStatus(state: .off), io: String,
    ioReason: String? = nil
  ) {
    self.node = node
    self.version = version
    self.ready = readiness.ready
    self.reasons = readiness.reasons
    self.identity = identity
    self.config = config
    self.policy = policy
    self.shadow = shadow
    self.snapshot = snapshot
    self.sources = sources
    self.clients = clients
    self.push = push
    self.gates = gates
    self.audit = audit
    self.store = store
    self.io = io
    self.ioReason = ioReason
  }
}

/// The answer of `/readyz` and of gRPC health: ready means that there is no reason against it.
public struct Readiness: Sendable, Equatable {
  /// One sentence each, without a full stop, in a stable order.
  public var reasons: [String]
  public var ready: Bool { reasons.isEmpty }

  public init(reasons: [String] = []) { self.reasons = reasons }
}

/// Who this relay is.
public struct IdentityStatus: Sendable, Equatable, Decodable {
  public var spiffeID: String
  /// Earliest end in the SVID's chain.
  public var expiresAt: Timestamp
  /// How long this relay can go on if nothing renews its SVID or bundles.
  public var survivesUntil: Timestamp
  /// Trust domains there is a bundle for, sorted.
  public var trustDomains: [String]
  /// What is wrong with its sources while the last good identity goes on; a sentence each.
  public var warnings: [String]

  public init(
    spiffeID: String, expiresAt: Timestamp, survivesUntil: Timestamp, trustDomains: [String],
    warnings: [String] = []
  ) {
    self.spiffeID = spiffeID
    self.expiresAt = expiresAt
    self.survivesUntil = survivesUntil
    self.trustDomains = trustDomains
    self.warnings = warnings
  }
}

/// Which text of a file (configuration or policy) is in force.
public enum FileState: String, Sendable, Decodable {
  /// What the file says now.
  case current
  /// The file was refused at the last reload; what was loaded before it stays in force.
  case refused
  /// The file was bad at start; the last good one, kept in `state`, is in force.
  case lastGood
  /// Nothing usable was ever loaded. For policy: everything is denied.
  case none
}

public struct ConfigStatus: Sendable, Equatable, Decodable {
  public var state: FileState
  /// When the text in force was loaded.
  public var loadedAt: Timestamp?
  /// The first problem of a refused text, with its place; nil when `state` is `current`.
  public var error: String?

  public init(state: FileState, loadedAt: Timestamp? = nil, error: String? = nil) {
    self.state = state
    self.loadedAt = loadedAt
    self.error = error
  }
}

public struct PolicyStatus: Sendable, Equatable, Decodable {
  public var state: FileState
  public var loadedAt: Timestamp?
  /// Hash of the rules in force.
  public var hash: String?
  public var error: String?
  /// Rules that allow what the tier above does not grant this relay; the first `ungrantedListed` of them.
  public var ungranted: [UngrantedStatus]
  public var ungrantedTotal: Int
  /// What the rules in force hardly mean as they say it, as `check` prints it; the first `warningsListed`.
  public var warnings: [String]
  public var warningsTotal: Int

  /// Most of them that are listed.
  public static let ungrantedListed = 1_000
  public static let warningsListed = 100

  public init(
    state: FileState, loadedAt: Timestamp? = nil, hash: String? = nil, error: String? = nil,
    ungranted: [UngrantedStatus] = [], warnings: [String] = []
  ) {
    self.state = state
    self.loadedAt = loadedAt
    self.hash = hash
    self.error = error
    self.ungranted = Array(ungranted.prefix(PolicyStatus.ungrantedListed))
    ungrantedTotal = ungranted.count
    self.warnings = Array(warnings.prefix(PolicyStatus.warningsListed))
    warningsTotal = warnings.count
  }
}

/// A second policy, evaluated and never enforced.
public struct ShadowStatus: Sendable, Equatable, Decodable {
  /// What a cluster would be served otherwise, in objects of the newest snapshot.
  public struct Cluster: Sendable, Equatable, Decodable {
    public var cluster: String
    public var added: Int
    /// Served under both, with other labels or annotations hidden.
    public var changed: Int
    public var removed: Int

    public init(cluster: String, added: Int, changed: Int, removed: Int) {
      self.cluster = cluster
      self.added = added
      self.changed = changed
      self.removed = removed
    }
  }

  /// `none`: it was never good.
  public var state: FileState
  public var loadedAt: Timestamp?
  public var hash: String?
  public var error: String?
  /// False while it is new and nothing of what follows, up to `clustersTotal`, is known yet.
  public var counted: Bool
  /// Clusters that would be served something else, the first `clustersListed` by name.
  public var clusters: [Cluster]
  public var clustersTotal: Int
  /// Identities that would be another cluster or none, `PATTERN: BEFORE → AFTER`; the first `identitiesListed`.
  public var identities: [String]
  public var identitiesTotal: Int

  public static let clustersListed = 1_000
  public static let identitiesListed = 100

  public init(
    state: FileState, loadedAt: Timestamp? = nil, hash: String? = nil, error: String? = nil,
    counted: Bool = true, clusters: [Cluster] = [], identities: [String] = []
  ) {
    self.state = state
    self.loadedAt = loadedAt
    self.hash = hash
    self.error = error
    self.counted = counted
    self.clusters = Array(clusters.prefix(ShadowStatus.clustersListed))
    clustersTotal = clusters.count
    self.identities = Array(identities.prefix(ShadowStatus.identitiesListed))
    identitiesTotal = identities.count
  }
}

/// A rule beyond what this relay is granted.
public struct UngrantedStatus: Sendable, Equatable, Decodable {
  /// `file:line:column` of the rule.
  public var place: String
  /// `all`: nothing that it allows can come; `part`: some of it cannot.
  public var extent: String
  /// Clusters that have the rule, the first `clustersListed` by name.
  public var clusters: [String]
  public var clustersTotal: Int
  /// Something that it allows and that cannot come: `TYPE NAMESPACE/NAME`.
  public var example: String

  public static let clustersListed = 20

  public init(place: String, extent: String, clusters: [String], example: String) {
    self.place = place
    self.extent = extent
    self.clusters = Array(clusters.prefix(UngrantedStatus.clustersListed))
    clustersTotal = clusters.count
    self.example = example
  }
}

public struct SnapshotStatus: Sendable, Equatable, Decodable {
  /// Hash over the whole content.
  public var version: String
  public var origin: String
  /// Order within `origin`.
  public var sequence: UInt64
  /// Resources of all types.
  public var resources: Int
  /// When the origin published it.
  public var publishedAt: Timestamp
  /// From the origin on, this relay not included.
  public var path: [Hop]

  /// One tier that the snapshot came through.
  public struct Hop: Sendable, Equatable, Decodable {
    /// UUID of the running instance.
    public var instance: String
    public var node: String

    public init(instance: String, node: String) {
      self.instance = instance
      self.node = node
    }
  }

  public init(
    version: String, origin: String, sequence: UInt64, resources: Int, publishedAt: Timestamp, path: [Hop]
  ) {
    self.version = version
    self.origin = origin
    self.sequence = sequence
    self.resources = resources
    self.publishedAt = publishedAt
    self.path = path
  }
}

public struct SourceStatus: Sendable, Equatable, Decodable {
  /// How far a source has come.
  public enum State: String, Sendable, Decodable {
    /// Nothing delivered yet.
    case connecting
    /// What is served is what the source says.
    case synced
    /// It delivered once and cannot be reached now; its last state is served.
    case stale
    /// It answers, but with something that cannot be used.
    case failed
    /// It offers something older than what was served already.
    case behind
  }

  /// A resource or file that was set aside.
  public struct Rejection: Sendable, Equatable, Decodable {
    /// `file:line:column`, or the address it came from.
    public var place: String
    /// `TYPE NAMESPACE/NAME` as far as it is known; empty for a file that does not parse.
    public var resource: String
    public var reason: String

    public init(place: String, resource: String, reason: String) {
      self.place = place
      self.resource = resource
      self.reason = reason
    }
  }

  /// Most rejections that are listed; `rejectedTotal` counts all of them.
  public static let rejectionsListed = 1_000

  public var name: String
  /// `upstream`, `directory`, `git` or `etcd`.
  public var kind: String
  public var state: State
  /// When it came into `state`.
  public var since: Timestamp
  public var resources: Int
  /// The first `rejectionsListed` of them.
  public var rejected: [Rejection]
  public var rejectedTotal: Int
  public var lastError: String?
  /// Of an upstream with an open stream: which of its addresses.
  public var address: String?

  /// Cuts `rejected` to what is listed; `rejectedTotal` stays the count of all that were given.
  public init(
    name: String, kind: String, state: State, since: Timestamp, resources: Int = 0,
    rejected: [Rejection] = [], lastError: String? = nil, address: String? = nil
  ) {
    self.name = name
    self.kind = kind
    self.state = state
    self.since = since
    self.resources = resources
    self.rejected = Array(rejected.prefix(SourceStatus.rejectionsListed))
    self.rejectedTotal = rejected.count
    self.lastError = lastError
    self.address = address
  }
}

public struct ClientStatus: Sendable, Equatable, Decodable {
  /// One subscription.
  public struct Subscription: Sendable, Equatable, Decodable {
    /// `version_info` of the newest response; nil before the first.
    public var sent: String?
    /// `version_info` of the newest acknowledged response.
    public var acked: String?
    public var nacks: Int
    /// What the client said in its newest NACK, cut and escaped.
    public var lastNack: String?

    public init(sent: String? = nil, acked: String? = nil, nacks: Int = 0, lastNack: String? = nil) {
      self.sent = sent
      self.acked = acked
      self.nacks = nacks
      self.lastNack = lastNack
    }
  }

  public var spiffeID: String
  /// The name policy gives it.
  public var cluster: String
  public var address: String
  /// `sotw`, `delta`, `mcp`, `mcp-aggregated` or `sink`.
  public var `protocol`: String
  public var connectedAt: Timestamp
  /// By the type URL (or collection) as the client wrote it.
  public var types: [String: Subscription]

  public init(
    spiffeID: String, cluster: String, address: String, protocol: String, connectedAt: Timestamp,
    types: [String: Subscription] = [:]
  ) {
    self.spiffeID = spiffeID
    self.cluster = cluster
    self.address = address
    self.protocol = `protocol`
    self.connectedAt = connectedAt
    self.types = types
  }
}

/// A classic MCP sink that we dial. While it is served it is one of `clients`, too.
public struct SinkStatus: Sendable, Equatable, Decodable {
  public enum State: String, Sendable, Decodable {
    /// Not reached yet.
    case connecting
    case serving
    /// It is who it should be, and policy grants it nothing.
    case refused
    /// It cannot be reached, is somebody else, or has ended its stream.
    case failed
  }

  public var address: String
  /// Who it must be, as configured.
  public var spiffeID: String
  public var state: State
  public var since: Timestamp
  /// Why it is not served; nil while it is.
  public var lastError: String?

  public init(address: String, spiffeID: String, state: State, since: Timestamp, lastError: String? = nil) {
    self.address = address
    self.spiffeID = spiffeID
    self.state = state
    self.since = since
    self.lastError = lastError
  }
}

/// A view that is not simply the newest one.
public struct GateStatus: Sendable, Equatable, Decodable {
  public enum Kind: String, Sendable, Decodable {
    /// The brake keeps the last good view until `release`.
    case held
    case pinned
    case frozen
    case rolledBack
  }

  public var kind: Kind
  /// Nil means every cluster.
  public var cluster: String?
  /// What it is kept at.
  public var version: String?
  public var since: Timestamp
  public var reason: String
  /// Objects that would be set or removed if it opened now.
  public var heldBack: HeldBack

  public struct HeldBack: Sendable, Equatable, Decodable {
    public var added: Int
    public var changed: Int
    public var removed: Int

    public init(added: Int = 0, changed: Int = 0, removed: Int = 0) {
      self.added = added
      self.changed = changed
      self.removed = removed
    }
  }

  public init(
    kind: Kind, cluster: String?, version: String?, since: Timestamp, reason: String,
    heldBack: HeldBack = HeldBack()
  ) {
    self.kind = kind
    self.cluster = cluster
    self.version = version
    self.since = since
    self.reason = reason
    self.heldBack = heldBack
  }
}

/// How the state folder is.
public struct StoreStatus: Sendable, Equatable, Decodable {
  public enum State: String, Sendable, Decodable {
    /// The newest snapshot is there, or on its way.
    case saving
    /// It cannot be written. Serving goes on; a restart would begin with an older snapshot, or none.
    case failing
    /// `state` is not configured: nothing outlives the process.
    case off
  }

  public var state: State
  /// Why it cannot be written; nil while it can.
  public var error: String?

  public init(state: State, error: String? = nil) {
    self.state = state
    self.error = error
  }
}

public struct AuditStatus: Sendable, Equatable, Decodable {
  public enum State: String, Sendable, Decodable {
    case writing
    /// Records cannot be written; `audit.onFailure` decides what that means for deliveries.
    case failing
    /// Not configured.
    case off
  }

  public var state: State
  /// Hash of the newest checkpoint's line; nil before the first.
  public var head: String?
  /// Why records cannot be written; nil while they can.
  public var error: String?

  public init(state: State, head: String? = nil, error: String? = nil) {
    self.state = state
    self.head = head
    self.error = error
  }
}
