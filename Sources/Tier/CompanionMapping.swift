// The file of `connect` in the words of the rooms below: one upstream, everything it gives for whoever reaches
// the loopback listener. DESIGN.md §4 (`connect`) and §5, last paragraph.
//
// The upstream has decided what this host may see, by this host's identity. There is nothing left to decide
// here, and so there is no policy file.

public import Configuration
public import Documents
import Downstream
import Gates
import Identity
public import Policy
import SPIFFE
import Transport
import XDS

extension TierPlan {
  /// Name of the one source in status and log.
  static let companionSource = "relay"
  /// Name of the one cluster: everybody on this host.
  static let companionCluster = "local"

  /// It serves what one relay grants this host, to whoever is on it.
  var isCompanion: Bool { if case .loopback = listeners { true } else { false } }

  public init(_ configuration: CompanionConfiguration, host: HostFacts) throws(Problem) {
    let node = configuration.node ?? host.name
    let upstream = UpstreamPlan(
      endpoints: configuration.relayAddresses.map { Endpoint(host: $0.host, port: $0.port) },
      peer: configuration.relayID, dialect: .delta, types: GlobList([GlobPattern("*/*")]))
    self.init(
      node: node, origin: node,
      identity: try IdentityPlan(configuration.identity, host: host, file: configuration.file),
      sources: [SourcePlan(name: TierPlan.companionSource, kind: .upstream(upstream))])
    federation = configuration.identity.federation.map(BundleEndpoint.init)
    offlineGoal = configuration.identity.offlineGoal
    state = configuration.state
    // The relay above has a brake, and `released` has to be told to nobody below.
    brake = .off
    listeners = .loopback(
      granted: .whole(cluster: TierPlan.companionCluster), host: SPIFFEID(configuration.relayID.trustDomain))
  }
}

extension PolicyRules {
  /// Everything, for every identity that this host could have: so `dump` and `explain` answer for it, too.
  public init(_ configuration: CompanionConfiguration) {
    self = .everything(
      for: TierPlan.companionCluster,
      // With the Workload API our own trust domain stands in no file; the relay's is what it mostly is.
      identities: Set(configuration.identity.trustDomains + [configuration.relayID.trustDomain]).sorted()
        .map { SPIFFEPattern(below: $0) },
      origin: .start(of: configuration.file))
  }
}
