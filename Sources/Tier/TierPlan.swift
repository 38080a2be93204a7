// What one relay is to do, in the words of the rooms below: made from a configuration file, or by hand in the
// simulator. `serve` and `connect` are two ways to make one.

public import Downstream
public import Identity
public import Policy
public import Primitives
public import Ring
public import SPIFFE
import Snapshots
public import TLS
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
        if case .upstream(let upstream) = source.kind { upstream.peer.trustDomain } else { nil }
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

  public init(name: String, kind: Kind, only: SourceFilter = SourceFilter()) {
    self.name = name
    self.kind = kind
    self.only = only
  }

  /// Its resources are made here, not passed on.
  var isTruth: Bool { if case .directory = kind { true } else { false } }
}

public struct UpstreamPlan: Sendable, Equatable {
  /// In order of preference; never empty.
  public var endpoints: [Endpoint]
  /// Who must answer.
  public var peer: SPIFFEPattern
  public var dialect: ADSDialect
  /// What is asked for.
  public var types: GlobList

  public init(endpoints: [Endpoint], peer: SPIFFEPattern, dialect: ADSDialect, types: GlobList) {
    self.endpoints = endpoints
    self.peer = peer
    self.dialect = dialect
    self.types = types
  }

  var kinds: [Snapshots.Kind] { Kinds.all.filter { types.matches($0.type.description) } }
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

  func admits(_ type: TypeName) -> Bool { types.matches(type.description) }

  func admits(_ resource: Resource) -> Bool {
    admits(resource.type) && namespaces.matches(resource.namespace)
  }
}
