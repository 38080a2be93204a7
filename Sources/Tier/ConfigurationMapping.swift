// Configuration in the words of the rooms below: those know nothing of files and keys.

public import Configuration
public import Documents
import Downstream
import Gates
import Identity
import MCP
import Policy
import Ring
import SPIFFE
import Store
import TLS
import Trail
import Transport
import XDS

/// What a configuration file leaves to the host.
public struct HostFacts: Sendable {
  /// The node's name where the file gives none.
  public var name: String
  /// Where systemd puts credentials; nil when it passed none.
  public var credentialsFolder: String?
  /// `$SPIFFE_ENDPOINT_SOCKET`.
  public var workloadAPI: String?

  public init(name: String, credentialsFolder: String?, workloadAPI: String? = nil) {
    self.name = name
    self.credentialsFolder = credentialsFolder
    self.workloadAPI = workloadAPI
  }
}

extension TierPlan {
  /// Without an `origin` the node's name is the origin's. Fails when the file leaves to the host what that lacks.
  public init(_ configuration: RelayConfiguration, host: HostFacts) throws(Problem) {
    let node = configuration.node ?? host.name
    self.init(
      node: node, origin: configuration.origin ?? node,
      identity: try IdentityPlan(configuration.identity, host: host, file: configuration.file),
      sources: configuration.sources.map(SourcePlan.init))
    sinks = configuration.push.map {
      SinkPlan(endpoint: Endpoint(host: $0.address.host, port: $0.address.port), peer: $0.spiffeID)
    }
    federation = configuration.identity.federation.map(BundleEndpoint.init)
    offlineGoal = configuration.identity.offlineGoal
    quiet = configuration.publish.quiet
    quietMost = configuration.publish.max
    minimumTLS = configuration.tlsMinimum == .tls12 ? .tls12 : .tls13
    limits = configuration.limits
    state = configuration.state
    audit = configuration.audit.map(TrailSettings.init)
    history = HistoryLimits(versions: configuration.history.versions, age: configuration.history.keep)
    brake = Brake(configuration.brake)
    staleAfter = configuration.staleAfter.map {
      StaleLimit(after: $0.after, endsReadiness: $0.then == .unready)
    }
  }
}

extension TrailSettings {
  init(_ settings: AuditSettings) {
    self.init(
      path: settings.path, maxBytes: settings.maxBytes, keep: settings.keep,
      onFailure: settings.onFailure == .stop ? .stop : .goOn, sync: settings.sync,
      isMirrored: settings.journal == .all)
  }
}

extension Brake {
  init(_ settings: BrakeSettings) {
    self.init(
      removes: settings.removes, atLeast: settings.atLeast, most: settings.most, window: settings.window)
  }
}

extension TierPlan.IdentityPlan {
  /// `file`: the configuration file, for the problem.
  init(_ settings: IdentitySettings, host: HostFacts, file: String) throws(Problem) {
    let bundles = settings.bundles.map { ($0.trustDomain, $0.path) }
    switch settings.source {
    case .files(let svid, let key):
      // Without the folder the file cannot be read, and the error names what was looked for.
      let folder = host.credentialsFolder ?? "$CREDENTIALS_DIRECTORY"
      self = .files(
        FileIdentity(svid: svid, key: key.path(credentialsFolder: folder) ?? "", bundles: bundles))
    case .workloadAPI(let configured, let choice):
      let address: WorkloadAPIAddress
      if let configured {
        address = configured
      } else {
        address = try WorkloadAPIAddress(of: host, file: file)
      }
      guard let endpoint = SocketAddress(literal: address.socketLiteral) else {
        throw Problem(.start(of: file), "\(address) is no address that can be dialled")
      }
      self = .workloadAPI(endpoint, choice.map(SVIDChoice.init), BundleFiles(bundles))
    }
  }
}

extension WorkloadAPIAddress {
  /// What the environment says.
  init(of host: HostFacts, file: String) throws(Problem) {
    guard let text = host.workloadAPI else {
      throw Problem(
        .start(of: file), "identity names neither files nor workloadAPI",
        why: "and $SPIFFE_ENDPOINT_SOCKET is not set",
        howToFix: "write workloadAPI: unix:///run/spire/agent/public/api.sock, or files and bundles")
    }
    do throws(Fault) {
      try self.init(parsing: text)
    } catch {
      throw Problem(
        .start(of: file), "$SPIFFE_ENDPOINT_SOCKET is \(Problem.quote(text)), which \(error.what)",
        howToFix: error.howToFix)
    }
  }
}

extension BundleEndpoint {
  init(_ settings: FederationSettings) {
    let url = settings.url
    self.init(
      trustDomain: settings.trustDomain, host: url.host, port: url.port, path: url.path,
      publisher: settings.publisher)
  }
}

extension SVIDChoice {
  init(_ settings: IdentitySettings.SVIDChoice) {
    switch settings {
    case .hint(let hint): self = .hint(hint)
    case .spiffeID(let id): self = .spiffeID(id)
    }
  }
}

extension SourcePlan {
  init(_ settings: SourceSettings) {
    let kind: Kind
    switch settings.kind {
    case .directory(let path): kind = .directory(path: path)
    case .upstream(let upstream): kind = .upstream(UpstreamPlan(upstream))
    }
    let only = SourceFilter(
      types: GlobList(settings.only.types?.map(\.glob) ?? [GlobPattern("*/*")]),
      namespaces: settings.only.namespaces ?? GlobList([GlobPattern("*")]))
    self.init(name: settings.name, kind: kind, only: only)
    expandHosts = settings.expandHosts
  }
}

extension UpstreamPlan {
  init(_ settings: UpstreamSettings) {
    let server: Server =
      switch settings.server {
      case .workload(let pattern): .workload(pattern)
      case .host(let name, let ca): .host(dnsName: name, authority: AuthorityFile(path: ca))
      }
    let dialect: Dialect =
      switch settings.dialect {
      case .delta: .discovery(.delta)
      case .sotw: .discovery(.stateOfTheWorld)
      case .mcp: .classic(.resourceSource)
      case .mcpAggregated: .classic(.aggregated)
      }
    self.init(
      endpoints: settings.addresses.map { Endpoint(host: $0.host, port: $0.port) }, server: server,
      dialect: dialect, types: GlobList(settings.types?.map(\.glob) ?? [GlobPattern("*/*")]))
    takesGenerated = settings.takesGenerated
  }
}
