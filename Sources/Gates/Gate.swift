// A gate keeps a cluster, or all of them, at something else than the newest snapshot.
//
//   open ──source removals trip the brake──► held ──release, or no longer tripped──► open
//   open ──freeze──► frozen    ──thaw──► judged by the brake: open or held
//   open ──rollback──► rolledBack ──thaw──►       〃
//   open ──pin──► pinned ──unpin──►               〃
//
// What a gate keeps is a whole snapshot from before the cut: policy cuts it anew whenever policy changes, and
// what a source may no longer let us have is erased from it (docs/decisions/100-gates.md).

public import Primitives
public import Snapshots

/// One gate in force. What it keeps is cut by policy before anybody sees it.
public struct Gate: Sendable {
  public enum Kind: String, Sendable, CaseIterable {
    /// By the brake.
    case held
    case pinned
    case frozen
    case rolledBack
  }

  public var kind: Kind
  /// What is served instead of the newest snapshot.
  public var base: Snapshot
  /// Version of the base when the gate closed; what was erased since does not change it.
  public var version: Version
  public var since: Timestamp
  /// For people: why it closed.
  public var reason: String
  /// Of a held view: what had gone within the window before it closed. It counts with what would go.
  public var passed: [TypeName: Set<String>]
  /// Of a held view: types whose removals the operator let pass.
  public var releasedTypes: Set<TypeName>
  /// Gates with one number keep one base.
  var number: UInt64 = 0

  public init(
    kind: Kind, base: Snapshot, version: Version, since: Timestamp, reason: String,
    passed: [TypeName: Set<String>] = [:], releasedTypes: Set<TypeName> = []
  ) {
    self.kind = kind
    self.base = base
    self.version = version
    self.since = since
    self.reason = reason
    self.passed = passed
    self.releasedTypes = releasedTypes
  }

  /// Whether the base is served as what is newest now: an operator chose it, so that tiers below must not take
  /// it for something that is behind. A view that is merely kept stays where it was.
  var isCurrent: Bool { kind == .pinned || kind == .rolledBack }

  /// The base as it is served beside the newest snapshot.
  func served(beside newest: Snapshot) -> Snapshot {
    guard isCurrent else { return base }
    return Snapshot(
      collections: base.collections, pending: newest.pending, isComplete: newest.isComplete,
      position: newest.position, positions: newest.positions, removalCauses: base.removalCauses)
  }
}

/// All gates of a relay. Pure data; which cluster stands behind which gate is decided here alone.
public struct GateBook: Sendable {
  /// By cluster: pinned, frozen or rolled back on its own.
  public var own: [String: Gate] = [:]
  /// By cluster: held by the brake.
  public var held: [String: Gate] = [:]
  /// For every cluster: frozen or rolled back.
  public var all: Gate?
  /// Clusters that were thawed while `all` stands.
  public var thawed: Set<String> = []

  public init() {}

  public var isEmpty: Bool { own.isEmpty && held.isEmpty && all == nil }

  /// A gate of its own comes first, then a rollback of all, then the brake, then a freeze of all: what was
  /// held when everything froze stays what it was.
  public func gate(for cluster: String) -> Gate? {
    if let gate = own[cluster] { return gate }
    let everybody = thawed.contains(cluster) ? nil : all
    if let everybody, everybody.kind == .rolledBack { return everybody }
    return held[cluster] ?? everybody
  }

  /// What a cluster, or every one, is kept at.
  public func version(of cluster: String?) -> Version? {
    if let cluster { gate(for: cluster)?.version } else { all?.version }
  }

  /// Changes every gate that there is.
  public mutating func update(_ body: (inout Gate) -> Void) {
    for cluster in own.keys.sorted() {
      if var gate = own[cluster] {
        body(&gate)
        own[cluster] = gate
      }
    }
    for cluster in held.keys.sorted() {
      if var gate = held[cluster] {
        body(&gate)
        held[cluster] = gate
      }
    }
    if var gate = all {
      body(&gate)
      all = gate
    }
  }

  /// Every gate with its cluster, by cluster; the one of all first.
  public var gates: [(cluster: String?, gate: Gate)] {
    let single = (Array(own) + Array(held)).sorted {
      ($0.key, $0.value.kind.rawValue) < ($1.key, $1.value.kind.rawValue)
    }
    return (all.map { [(cluster: nil, gate: $0)] } ?? []) + single.map { (cluster: $0.key, gate: $0.value) }
  }
}

/// A kept version, as history gives it back.
public struct KeptContent: Sendable {
  public var version: Version
  public var collections: [TypeName: Collection]

  public init(version: Version, collections: [TypeName: Collection]) {
    self.version = version
    self.collections = collections
  }
}

/// What an operator decides.
public enum GateCommand: Sendable {
  case rollBack(KeptContent, cluster: String?)
  case pin(String, KeptContent)
  case unpin(String)
  case freeze(cluster: String?)
  case thaw(cluster: String?)
  case release(String, TypeName?)
}

/// Why a command cannot be carried out; nothing has changed.
public enum GateError: Explained, Equatable {
  case noSuchCluster(String, known: [String])
  case notPinned(String)
  case notHeld(String)
  /// The brake holds the cluster, and not because of this type. `held`: what it holds back, in words. `isReleased`: its
  /// removals were let pass before.
  case notHeldBack(String, TypeName, isReleased: Bool, held: [String])
  case isPinned(String)
  case alreadyKept(cluster: String?, Gate.Kind)
  case nothingToThaw(cluster: String?)
  /// Nothing is served yet.
  case nothingToKeep

  public var what: String {
    switch self {
    case .noSuchCluster(let name, _): "The policy has no cluster '\(name)'"
    case .notPinned(let name): "The cluster '\(name)' is not pinned"
    case .notHeld(let name): "The brake does not hold the cluster '\(name)'"
    case .notHeldBack(let name, let type, let isReleased, _):
      isReleased
        ? "The removals of \(type) were let pass for the cluster '\(name)' before, and it is held still"
        : "The brake holds back no removals of \(type) from the cluster '\(name)'"
    case .isPinned(let name): "The cluster '\(name)' is pinned"
    case .alreadyKept(let cluster, let kind):
      (cluster.map { "The cluster '\($0)' is" } ?? "Every cluster is") + " \(kind.words) already"
    case .nothingToThaw(let cluster):
      (cluster.map { "The cluster '\($0)'" } ?? "No cluster") + " is \(cluster == nil ? "" : "not ")"
        + "frozen or rolled back"
    case .nothingToKeep: "Nothing is served yet that could be kept"
    }
  }

  public var howToFix: String {
    switch self {
    case .noSuchCluster(_, let known):
      known.isEmpty ? "" : "Its clusters are: " + known.prefix(20).joined(separator: ", ")
    case .notHeldBack(_, _, _, let held): "What it holds back: " + held.joined(separator: ", ")
    case .isPinned(let name): "`meshrelay unpin \(name)` ends that"
    case .alreadyKept(let cluster, _): "`meshrelay thaw\(cluster.map { " " + $0 } ?? "")` ends that"
    case .notPinned, .notHeld, .nothingToThaw: "`meshrelay status` shows the gates"
    case .nothingToKeep: ""
    }
  }

  public var blame: Blame { .operator }
}

extension Gate.Kind {
  /// For sentences: "is rolled back".
  public var words: String {
    switch self {
    case .held: "held by the brake"
    case .pinned: "pinned"
    case .frozen: "frozen"
    case .rolledBack: "rolled back"
    }
  }
}
