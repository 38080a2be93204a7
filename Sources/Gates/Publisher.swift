// The publisher's state: views of all policy classes, kept up from changes alone.
//
// A change of the snapshot costs O(changed resources × classes that may see them); new rules cost one
// pass over the snapshot. Collections that come out equal are one collection, whatever led to them, so
// classes that see the same share its memory. Runs on the publisher's worker; pure.

public import Policy
public import Snapshots

/// What became of one type in one class: what a `publish` record of the audit tells.
public struct ViewChange: Sendable, Equatable {
  public let classIndex: Int
  public let type: TypeName
  /// The collection's version in this view.
  public let version: Version
  /// Wire names, sorted.
  public let added: [String]
  public let changed: [String]
  public let removed: [String]
}

/// A new generation and what is new in it.
public struct Publication: Sendable {
  public let generation: Generation
  /// By class, then type. Only views that changed.
  public let changes: [ViewChange]
}

/// Makes generations.
public struct Publisher: Sendable {
  public private(set) var current: Generation
  private var index: ClassIndex
  /// What each class sees, by class index.
  private var visible: [[TypeName: Collection]]

  public init(rules: PolicyRules) {
    index = ClassIndex(rules)
    visible = Array(repeating: [:], count: rules.classes.count)
    current = Generation(
      number: 0, rules: rules, snapshot: .nothing,
      views: rules.classes.map { _ in View(number: 0, collections: [:], snapshot: .nothing) })
  }

  /// Publishes a change of the snapshot. `snapshot` is what it led to.
  public mutating func apply(_ change: Merge.Change, snapshot: Snapshot) -> Publication {
    var changes: [ViewChange] = []
    for type in change.types { apply(type, &changes) }
    return publish(current.rules, snapshot, changes)
  }

  /// Publishes other rules over the same snapshot.
  public mutating func replace(rules: PolicyRules) -> Publication {
    let before = visible
    let old = current.rules
    index = ClassIndex(rules)
    visible = Publisher.visible(current.snapshot, rules, &index, sharing: before)
    var changes: [ViewChange] = []
    for policy in rules.classes {
      // What the clusters of this class saw before; none, if its first cluster is new.
      let name = rules.clusters[policy.clusters[0]].name
      let previous = old.clusters.first { $0.name == name }.map { before[$0.classIndex] } ?? [:]
      changes += Publisher.changes(policy.index, from: previous, to: visible[policy.index])
    }
    return publish(rules, current.snapshot, changes)
  }

  private mutating func publish(
    _ rules: PolicyRules, _ snapshot: Snapshot, _ changes: [ViewChange]
  ) -> Publication {
    let number = current.number + 1
    current = Generation(
      number: number, rules: rules, snapshot: snapshot,
      views: visible.map { View(number: number, collections: $0, snapshot: snapshot) })
    let sorted = changes.sorted { ($0.classIndex, $0.type) < ($1.classIndex, $1.type) }
    return Publication(generation: current, changes: sorted)
  }

  /// The edits of one class.
  private struct Edits {
    var upserts: [Resource] = []
    var removals: [String] = []
  }

  private mutating func apply(_ change: Merge.TypeChange, _ changes: inout [ViewChange]) {
    var edits: [Int: Edits] = [:]
    for resource in change.upserts {
      let facts = ResourceFacts(resource)
      for candidate in index.candidates(type: change.type, namespace: resource.namespace) {
        if current.rules.isVisible(facts, class: candidate) {
          edits[candidate, default: Edits()].upserts.append(resource)
        } else if visible[candidate][change.type]?.contains(resource.wireName) == true {
          edits[candidate, default: Edits()].removals.append(resource.wireName)
        }
      }
    }
    for name in change.removals {
      for candidate in index.candidates(type: change.type, namespace: Publisher.namespace(ofWireName: name))
      where visible[candidate][change.type]?.contains(name) == true {
        edits[candidate, default: Edits()].removals.append(name)
      }
    }
    var shared: [Version: Collection] = [:]
    for (candidate, edits) in edits.sorted(by: { $0.key < $1.key }) {
      let before = visible[candidate][change.type] ?? .empty
      let after = Publisher.shared(
        before.applying(upserts: edits.upserts, removals: edits.removals), &shared)
      visible[candidate][change.type] = after
      changes += Publisher.changes(candidate, type: change.type, from: before, to: after)
    }
  }

  /// What every class sees of a snapshot: one pass over it. Collections that were there before, or that
  /// two classes have alike, are shared.
  private static func visible(
    _ snapshot: Snapshot, _ rules: PolicyRules, _ index: inout ClassIndex,
    sharing before: [[TypeName: Collection]]
  ) -> [[TypeName: Collection]] {
    var result: [[TypeName: Collection]] = Array(repeating: [:], count: rules.classes.count)
    for (type, collection) in snapshot.collections {
      var shared: [Version: Collection] = [collection.version: collection]
      for view in before {
        if let old = view[type] { shared[old.version] = old }
      }
      var seen: [[Resource]] = Array(repeating: [], count: rules.classes.count)
      for resource in collection.resources {
        let facts = ResourceFacts(resource)
        for candidate in index.candidates(type: type, namespace: resource.namespace)
        where rules.isVisible(facts, class: candidate) {
          seen[candidate].append(resource)
        }
      }
      for (candidate, resources) in seen.enumerated() where !resources.isEmpty {
        result[candidate][type] = Publisher.shared(Collection(resources), &shared)
      }
    }
    return result
  }

  private static func shared(_ collection: Collection, _ known: inout [Version: Collection]) -> Collection {
    if let same = known[collection.version] { return same }
    known[collection.version] = collection
    return collection
  }

  private static func changes(
    _ classIndex: Int, from old: [TypeName: Collection], to new: [TypeName: Collection]
  ) -> [ViewChange] {
    Set(old.keys).union(new.keys).sorted().flatMap { type in
      changes(classIndex, type: type, from: old[type] ?? .empty, to: new[type] ?? .empty)
    }
  }

  private static func changes(
    _ classIndex: Int, type: TypeName, from old: Collection, to new: Collection
  ) -> [ViewChange] {
    let difference = Collection.difference(from: old, to: new)
    guard !difference.isEmpty else { return [] }
    let names = difference.changed.map(\.wireName)
    return [
      ViewChange(
        classIndex: classIndex, type: type, version: new.version,
        added: names.filter { !old.contains($0) }, changed: names.filter { old.contains($0) },
        removed: difference.removed)
    ]
  }

  private static func namespace(ofWireName name: String) -> String {
    guard let slash = name.utf8.firstIndex(of: UInt8(ascii: "/")) else { return "" }
    return String(name[..<slash])
  }
}
