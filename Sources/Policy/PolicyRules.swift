// The policy of one relay as one immutable value: who may see what. Pure: the same rules, identity and
// object always give the same answer.
//
// It stands between Snapshots (facts about objects) and Gates (which builds a view per policy class).
// The rules of the file are DESIGN.md §6. An unusable file never becomes "no policy": callers keep the
// rules they had, or use `denyAll`.

internal import Documents
public import SPIFFE
internal import Snapshots

/// What a verified identity is.
public enum ClusterMatch: Hashable, Sendable {
  case cluster(index: Int, name: String)
  /// Beats every cluster.
  case blocked
  case none
}

public struct PolicyRules: Sendable {
  /// Sorted by name.
  public let clusters: [ClusterRules]
  /// In the order of the first cluster of each.
  public let classes: [PolicyClass]
  /// Sorted, each once.
  public let blocked: [SPIFFEPattern]
  /// Content hash of clusters, rules and blocked identities: 32 lower-case hexadecimal digits. Equal for files
  /// that say the same in another order, with other comments or other tests.
  public let hash: String
  /// How many expectations of `tests` were judged when the rules were read; all of them hold.
  public let expectationCount: Int
  /// Names in `sources` of rules with their first place, sorted by name.
  public let sourcesNamed: [String]
  /// What it was read from, as the operator named it, in that order.
  public let files: [String]

  private let identities: IdentityTable
  /// Owners are places in `blocks`.
  private let blockedIdentities: IdentityTable
  /// `blocked` as the files have it.
  private let blocks: [Located<SPIFFEPattern>]

  /// The policy in place of one that cannot be used: no cluster, nothing visible.
  public static let denyAll = PolicyRules(clusters: [], blocked: [], expectationCount: 0, files: [])

  /// `clusters`: names differ and patterns of two of them do not overlap; the reader has checked it.
  init(
    clusters drafts: [ClusterDraft], blocked blocks: [Located<SPIFFEPattern>], expectationCount: Int,
    files: [String]
  ) {
    let drafts = drafts.sorted { $0.name < $1.name }
    let grouping = PolicyRules.classes(of: drafts)
    classes = grouping.classes
    clusters = drafts.enumerated().map { index, draft in
      ClusterRules(
        name: draft.name, position: draft.position, index: index, classIndex: grouping.classOf[index],
        identities: draft.identities, allow: draft.allow, deny: draft.deny, redaction: draft.redaction)
    }
    self.blocks = blocks
    blocked = Set(blocks.map(\.value)).sorted()
    self.expectationCount = expectationCount
    self.files = files
    hash = PolicyRules.hash(of: drafts, blocked: blocked)
    sourcesNamed = Set(drafts.flatMap { $0.allow + $0.deny }.flatMap { $0.sources ?? [] }).sorted()
    var identities = IdentityTable()
    for (index, draft) in drafts.enumerated() {
      for pattern in draft.identities { _ = identities.insert(pattern, owner: index) }
    }
    self.identities = identities
    var blockedIdentities = IdentityTable()
    // The first place of a pattern that stands twice is told.
    for (index, block) in blocks.enumerated() { _ = blockedIdentities.insert(block.value, owner: index) }
    self.blockedIdentities = blockedIdentities
  }

  // MARK: Questions

  public func cluster(for id: SPIFFEID) -> ClusterMatch {
    if blockedIdentities.owner(of: id) != nil { return .blocked }
    guard let index = identities.owner(of: id) else { return .none }
    return .cluster(index: index, name: clusters[index].name)
  }

  /// The place in `clusters` of an identity's own; throws why it is served nothing at all.
  public func index(of id: SPIFFEID) throws(IdentityRefusal) -> Int {
    if let block = blockedIdentities.owner(of: id).map({ blocks[$0] }) {
      throw .blocked(id, by: block.value, at: block.position)
    }
    guard let index = identities.owner(of: id) else { throw .noCluster(id, files: files) }
    return index
  }

  /// `index`: a place in `classes`.
  public func isVisible(_ facts: ResourceFacts, class index: Int) -> Bool {
    classes[index].isVisible(facts)
  }

  /// Trust domains that clusters or blocked identities name, sorted: handshakes from others may fail.
  public var trustDomains: [TrustDomain] {
    Set((clusters.flatMap(\.identities) + blocked).map(\.trustDomain)).sorted()
  }

  // MARK: Derived values

  private static func classes(of drafts: [ClusterDraft]) -> (classes: [PolicyClass], classOf: [Int]) {
    var indexOf: [String: Int] = [:]
    var members: [[Int]] = []
    var classOf: [Int] = []
    for (cluster, draft) in drafts.enumerated() {
      let index = indexOf[draft.canonicalRules] ?? members.count
      if index == members.count {
        indexOf[draft.canonicalRules] = index
        members.append([])
      }
      members[index].append(cluster)
      classOf.append(index)
    }
    let classes = members.enumerated().map { index, clusters in
      let first = drafts[clusters[0]]
      return PolicyClass(
        index: index, clusters: clusters, allow: first.allow, deny: first.deny, redaction: first.redaction,
        canonicalRules: first.canonicalRules)
    }
    return (classes, classOf)
  }

  private static func hash(of drafts: [ClusterDraft], blocked: [SPIFFEPattern]) -> String {
    var lines: [String] = []
    for draft in drafts {
      lines.append("cluster \(draft.name.utf8.count):\(draft.name)")
      lines += draft.identities.map(\.description).sorted().map { "identity \($0)" }
      lines.append(draft.canonicalRules)
    }
    lines += blocked.map { "blocked \($0)" }
    return Version(hashing: Array(lines.joined(separator: "\n").utf8)).description
  }
}

/// A cluster as its file says it, before it has a place among the others.
struct ClusterDraft: Sendable {
  let name: String
  let position: SourcePosition
  /// Sorted, each once.
  let identities: [SPIFFEPattern]
  let allow: [Rule]
  let deny: [Rule]
  let redaction: Redaction?
  /// Equal for clusters whose rules say the same in any order.
  let canonicalRules: String

  init(
    name: String, position: SourcePosition, identities: [SPIFFEPattern], allow: [Rule], deny: [Rule],
    redaction: Redaction? = nil
  ) {
    self.redaction = redaction
    self.name = name
    self.position = position
    self.identities = Set(identities).sorted()
    self.allow = allow
    self.deny = deny
    func lines(_ word: String, _ rules: [Rule]) -> [String] {
      Set(rules.map(\.canonicalText)).sorted().map { "\(word) \($0)" }
    }
    let hidden = redaction.map { ["redact \($0.canonicalText)"] } ?? []
    canonicalRules = (lines("allow", allow) + lines("deny", deny) + hidden).joined(separator: "\n")
  }
}
