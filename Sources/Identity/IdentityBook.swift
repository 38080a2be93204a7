// What every source of our identity has said last, and what that amounts to: one place decides whose word counts.
//
// Our own trust domain's bundle comes from where our SVID comes from, never from a federation: who could write it
// could make himself anybody. For other trust domains the operator's own word comes before what an agent hands
// on: an endpoint of `federation`, then a file of `bundles`, then the Workload API. What an endpoint had published
// before this process was started gives way to any newer word (decision 088). What a source can no longer
// give stays as it was last; what it takes back is gone, our own SVID included. Bundles are never merged, not even of one trust domain.

public import Primitives
public import SPIFFE
import TLS
public import Trust

public struct IdentityBook: Sendable {
  /// The newest usable one.
  public private(set) var svid: X509SVID?
  /// Whether the Workload API gave it.
  private var isAgents = false
  /// When the agent took it back; nil: it has not.
  public private(set) var withdrawnAt: Timestamp?
  /// From the Workload API: our own and those of federated trust domains.
  private var fromAgent: [TrustDomain: Bundle] = [:]
  /// From the Workload API, for every trust domain.
  private var revocations: [RevocationList] = []
  /// From files.
  private var fromFiles: [TrustDomain: Bundle] = [:]
  /// From bundle endpoints.
  private var fromEndpoints: [TrustDomain: Bundle] = [:]
  /// From bundle endpoints that have not answered since the process was started.
  private var kept: [TrustDomain: Bundle] = [:]

  public init() {}

  /// An answer of the agent replaces the one before. A trust domain whose new bundle is unusable keeps its last.
  public mutating func take(_ identity: WorkloadIdentity) {
    svid = identity.svid
    isAgents = true
    withdrawnAt = nil
    revocations = identity.revocations
    fromAgent = IdentityBook.next(identity.bundles, fromAgent, kept: Set(identity.faults.keys))
  }

  public mutating func take(_ contents: FileIdentity.Contents) {
    svid = contents.svid
    isAgents = false
    withdrawnAt = nil
    fromAgent = [:]
    revocations = []
    fromFiles = IdentityBook.next(contents.bundles, fromFiles, kept: Set(contents.faults.keys))
  }

  /// The agent says that we are not, or no longer, who it said we are. What files say is not its matter.
  /// True when that takes something away.
  public mutating func withdraw(at now: Timestamp) -> Bool {
    guard svid != nil, isAgents, withdrawnAt == nil else { return false }
    withdrawnAt = now
    return true
  }

  /// Files beside the Workload API.
  public mutating func take(
    files: (bundles: [TrustDomain: Bundle], faults: [TrustDomain: IdentityError])
  ) {
    fromFiles = IdentityBook.next(files.bundles, fromFiles, kept: Set(files.faults.keys))
  }

  /// What an endpoint of another trust domain publishes.
  public mutating func take(published bundle: Bundle) {
    fromEndpoints[bundle.trustDomain] = bundle
    kept[bundle.trustDomain] = nil
  }

  /// What an endpoint published last before this process was started.
  public mutating func take(kept bundle: KeptBundle) {
    var dated = bundle.bundle
    dated.obtainedAt = bundle.fetchedAt
    kept[dated.trustDomain] = dated
  }

  /// Forgets what endpoints have published that are not asked any more.
  public mutating func keep(endpointsOf trustDomains: Set<TrustDomain>) {
    fromEndpoints = fromEndpoints.filter { trustDomains.contains($0.key) }
    kept = kept.filter { trustDomains.contains($0.key) }
  }

  /// The bundle of a trust domain that counts, whoever we are, and whom of it the agent says to be revoked.
  public func bundle(of trustDomain: TrustDomain) -> Bundle? {
    guard var bundle = chosen(trustDomain) else { return nil }
    bundle.revocations = revocations
    return bundle
  }

  private func chosen(_ trustDomain: TrustDomain) -> Bundle? {
    if trustDomain == svid?.id.trustDomain { return fromAgent[trustDomain] ?? fromFiles[trustDomain] }
    if let published = fromEndpoints[trustDomain] { return published }
    let other = fromFiles[trustDomain] ?? fromAgent[trustDomain]
    guard let kept = kept[trustDomain] else { return other }
    return other.map { $0.isNewer(than: kept) ? $0 : kept } ?? kept
  }

  /// Whether the bundle that counts is what an endpoint published before this process was started.
  public func isKept(_ trustDomain: TrustDomain) -> Bool {
    guard let kept = kept[trustDomain] else { return false }
    return chosen(trustDomain) == kept
  }

  private static func next(
    _ new: [TrustDomain: Bundle], _ old: [TrustDomain: Bundle], kept: Set<TrustDomain>
  ) -> [TrustDomain: Bundle] {
    new.merging(old.filter { kept.contains($0.key) }) { new, _ in new }
  }

  /// Everybody's bundle that counts.
  private var bundles: [TrustDomain: Bundle] {
    let known = Set(fromAgent.keys).union(fromFiles.keys).union(fromEndpoints.keys).union(kept.keys)
    return Dictionary(uniqueKeysWithValues: known.map { ($0, bundle(of: $0)) }).compactMapValues { $0 }
  }

  /// Trust domains for which a file and the Workload API both have a bundle, sorted: one of them does not count.
  public var doublyTold: [TrustDomain] { fromAgent.keys.filter { fromFiles[$0] != nil }.sorted() }

  /// Nil before there is an SVID and its own trust domain's bundle.
  public func credentials(generation: UInt64) -> Credentials? {
    guard let svid else { return nil }
    let bundles = bundles
    guard bundles[svid.id.trustDomain] != nil else { return nil }
    return Credentials(svid: svid, bundles: bundles, generation: generation, withdrawnAt: withdrawnAt)
  }
}
