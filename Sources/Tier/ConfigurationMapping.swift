// Configuration in the words of the rooms below: those know nothing of files and keys.

public import Configuration
public import Identity
import Policy
import SPIFFE
import TLS
import Transport
import XDS

/// What a configuration file leaves to the host.
public struct HostFacts: Sendable {
  /// The node's name where the file gives none.
  public var name: String
  /// Where systemd puts credentials; nil when it passed none.
  public var credentialsFolder: String?

  public init(name: String, credentialsFolder: String?) {
    self.name = name
    self.credentialsFolder = credentialsFolder
  }
}

extension TierPlan {
  /// Without an `origin` the node's name is the origin's.
  public init(_ configuration: RelayConfiguration, host: HostFacts) {
    let node = configuration.node ?? host.name
    self.init(
      node: node, origin: configuration.origin ?? node,
      identity: .files(FileIdentity(configuration.identity, host: host)),
      sources: configuration.sources.map(SourcePlan.init))
    quiet = configuration.publish.quiet
    quietMost = configuration.publish.max
    minimumTLS = configuration.tlsMinimum == .tls12 ? .tls12 : .tls13
    limits = configuration.limits
    state = configuration.state
    staleAfter = configuration.staleAfter.map {
      StaleLimit(after: $0.after, endsReadiness: $0.then == .unready)
    }
  }
}

extension FileIdentity {
  public init(_ settings: IdentitySettings, host: HostFacts) {
    // Without the folder the file cannot be read, and the error names what was looked for.
    let folder = host.credentialsFolder ?? "$CREDENTIALS_DIRECTORY"
    self.init(
      svid: settings.svid, key: settings.key.path(credentialsFolder: folder) ?? "",
      bundles: settings.bundles.map { ($0.trustDomain, $0.path) })
  }
}

extension SourcePlan {
  init(_ settings: SourceSettings) {
    let kind: Kind
    switch settings.kind {
    case .directory(let path): kind = .directory(path: path)
    case .upstream(let upstream):
      kind = .upstream(
        UpstreamPlan(
          endpoints: upstream.addresses.map { Endpoint(host: $0.host, port: $0.port) },
          peer: upstream.spiffeID, dialect: upstream.dialect == .delta ? .delta : .stateOfTheWorld,
          types: GlobList(upstream.types?.map(\.glob) ?? [GlobPattern("*/*")])))
    }
    let only = SourceFilter(
      types: GlobList(settings.only.types?.map(\.glob) ?? [GlobPattern("*/*")]),
      namespaces: settings.only.namespaces ?? GlobList([GlobPattern("*")]))
    self.init(name: settings.name, kind: kind, only: only)
  }
}
