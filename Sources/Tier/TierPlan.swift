// What one relay is to do, in the words of the rooms below: made from a configuration file, or by hand in the
// simulator. `serve` and `connect` are two ways to make one.

public import Downstream
public import Gates
public import Identity
public import MCP
public import Policy
public import Primitives
public import Ring
public import SPIFFE
import Snapshots
public import Store
public import TLS
public import Trail
public import Transport
public import Trust
public import XDS

public struct TierPlan: Sendable {
  /// Where credentials come from.
  public enum IdentityPlan: Sendable, Equatable {
    /// Files, looked at every second.
    case files(FileIdentity)
    /// The SPIFFE Workload API; bundles from files stand beside those it brings.
    case workloadAPI(SocketAddress, SVIDChoice?, BundleFiles)
    /// These, for as long as they last: the simulator's.
    case fixed(Credentials)

    public static func == (left: IdentityPlan, right: IdentityPlan) -> Bool {
      switch (left, right) {
      case (.files(let left), .files(let right)): left == right
      case (.workloadAPI(let left, let choice, let files), .workloadAPI(let right, let other, let others)):
        left == right && choice == other && files == others
      case (.fixed(let left), .fixed(let right)): left.generation == right.generation
      case (.files, _), (.workloadAPI, _), (.fixed, _): false
      }
    }
  }

  public var node: String
  /// Name of the truth when this relay is an origin.
  public var origin: String
  public var identity: IdentityPlan
  /// Where bundles of other trust domains are published.
  public var federation: [BundleEndpoint] = []
  /// How long this host is to last by itself; nil: nothing is asked for.
  public var offlineGoal: Duration?
  /// In order of preference; names differ.
  public var sources: [SourcePlan]
  /// Sinks that we dial.
  public var sinks: [SinkPlan] = []
  /// Debounce of directories.
  public var quiet: Duration = .milliseconds(100)
  public var quietMost: Duration = .seconds(1)
  public var minimumTLS: TLSVersion = .tls13
  /// How those who connect are placed.
  public var listeners = ListenerKind.mutualTLS
  public var limits = Limits()
  /// Folder of what is kept over a restart; nil: nothing is.
  public var state: String?
  /// The log of everything requested, changed, delivered or refused; nil: none is kept.
  public var audit: TrailSettings?
  /// How much of the past is kept: in `state`, or else in memory.
  public var history = HistoryLimits()
  /// What removes too much at once waits for an operator.
  public var brake = Brake()
  /// What happens when sources have been lost for a while; nil: nothing beyond status.
  public var staleAfter: StaleLimit?

  public init(node: String, origin: String, identity: IdentityPlan, sources: [SourcePlan]) {
    self.node = node
    self.origin = origin
    self.identity = identity
    self.sources = sources
  }
}

/// `staleAfter` of the configuration.
public struct StaleLimit: Sendable, Equatable {
  public var after: Duration
  /// True: not ready any more. False: an error in the journal.
  public var endsReadiness: Bool

  public init(after: Duration, endsReadiness: Bool) {
    self.after = after
    self.endsReadiness = endsReadiness
  }
}

extension TierPlan {
  /// Of those who may answer as an upstream: their members pass the handshake here, too.
  var upstreamTrustDomains: Set<TrustDomain> {
    Set(
      sources.compactMap { source in
        guard case .upstream(let upstream) = source.kind, case .workload(let peer) = upstream.server else {
          return nil
        }
        return peer.trustDomain
      })
  }
}

/// One source of truth.
public struct SourcePlan: Sendable, Equatable {
  public enum Kind: Sendable, Equatable {
    case upstream(UpstreamPlan)
    /// Absolute path of a folder of manifests.
    case directory(path: String)
  }

  public var name: String
  public var kind: Kind
  /// What it may supply; everything else is set aside.
  public var only: SourceFilter
  /// Domain that short host names are completed with; nil: they stay.
  public var expandHosts: String?

  public init(name: String, kind: Kind, only: SourceFilter = SourceFilter()) {
    self.name = name
    self.kind = kind
    self.only = only
  }

  /// Its resources begin here: nobody above says where they stand.
  var isTruth: Bool {
    switch kind {
    case .directory: true
    case .upstream(let upstream): upstream.isForeign
    }
  }
}

public struct UpstreamPlan: Sendable, Equatable {
  /// Who must answer.
  public enum Server: Sendable, Equatable {
    case workload(SPIFFEPattern)
    /// An istiod, or whatever else has no SVID.
    case host(dnsName: String, authority: AuthorityFile)
  }

  public enum Dialect: Sendable, Equatable {
    case discovery(ADSDialect)
    case classic(MCPMethod)
  }

  /// In order of preference; never empty.
  public var endpoints: [Endpoint]
  public var server: Server
  public var dialect: Dialect
  /// What is asked for.
  public var types: GlobList
  /// Takes also what an istiod made by itself.
  public var takesGenerated = false

  public init(endpoints: [Endpoint], server: Server, dialect: Dialect, types: GlobList) {
    self.endpoints = endpoints
    self.server = server
    self.dialect = dialect
    self.types = types
  }

  /// A relay of ours, or another ADS server with an SVID.
  public init(endpoints: [Endpoint], peer: SPIFFEPattern, dialect: ADSDialect, types: GlobList) {
    self.init(endpoints: endpoints, server: .workload(peer), dialect: .discovery(dialect), types: types)
  }

  /// It never says where its content stands: the classic protocol has no place for it, istiod no idea of it.
  var isForeign: Bool {
    if case .host = server { return true }
    if case .classic = dialect { return true }
    return false
  }

  /// What is asked for, in the order of the tables. An istiod has no kinds of the classic protocol, and that
  /// protocol none of the newest.
  var kinds: [Snapshots.Kind] {
    let known =
      switch (dialect, server) {
      case (.classic, _): (Kinds.all + Kinds.classic).filter { $0.collection != nil }
      case (.discovery, .host): Kinds.all
      case (.discovery, .workload): Kinds.all + Kinds.classic
      }
    return known.filter { types.matches($0.type.description) }
  }
}

/// `only` of a source.
public struct SourceFilter: Sendable, Equatable {
  public var types: GlobList
  public var namespaces: GlobList

  /// Without arguments: everything.
  public init(
    types: GlobList = GlobList([GlobPattern("*/*")]), namespaces: GlobList = GlobList([GlobPattern("*")])
  ) {
    self.types = types
    self.namespaces = namespaces
  }

  func admits(_ type: TypeName) -> Bool { types.matches(type) }

  func admits(_ resource: Resource) -> Bool {
    admits(resource.type) && namespaces.matches(resource.namespace)
  }
}
