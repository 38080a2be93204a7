// The gates in force as status shows them, with what they keep back.

internal import Policy
public import Primitives
public import Snapshots

/// One gate in a few words.
public struct GateStanding: Sendable, Equatable {
  public var kind: Gate.Kind
  /// Nil: every cluster.
  public var cluster: String?
  /// What is kept.
  public var version: Version
  public var since: Timestamp
  public var reason: String
  public var heldBack: HeldBack
}

/// Objects that would be set or removed if a gate opened now.
public struct HeldBack: Sendable, Equatable {
  public var added = 0
  public var changed = 0
  public var removed = 0

  init(from old: [TypeName: Collection], to new: [TypeName: Collection]) {
    for type in Set(old.keys).union(new.keys) {
      let before = old[type] ?? .empty
      let difference = Collection.difference(from: before, to: new[type] ?? .empty)
      let known = difference.changed.count { before.contains($0.wireName) }
      added += difference.changed.count - known
      changed += known
      removed += difference.removed.count
    }
  }
}

extension Publisher {
  /// The gates in force, that of all first, then by cluster.
  public var standings: [GateStanding] {
    gates.gates.map { cluster, gate in
      GateStanding(
        kind: gate.kind, cluster: cluster, version: gate.version, since: gate.since, reason: gate.reason,
        heldBack: heldBack(cluster, gate))
    }
  }

  private func heldBack(_ cluster: String?, _ gate: Gate) -> HeldBack {
    guard let cluster else { return HeldBack(from: gate.base.collections, to: newest.collections) }
    guard let found = rules.cluster(named: cluster) else { return HeldBack(from: [:], to: [:]) }
    let key = KeptViews.Key(classIndex: found.classIndex, gate: gate.number)
    // A gate behind another one has no view of its own.
    return HeldBack(from: kept[key] ?? views[found.classIndex], to: views[found.classIndex])
  }
}
