// What became of every view from one generation to the next, in names: for the audit.

internal import Policy
internal import Snapshots

struct ViewChanges {
  private let old: Generation
  private let new: Generation

  init(from old: Generation, to new: Generation) {
    self.old = old
    self.new = new
  }

  private struct Pair: Hashable, Comparable {
    let before: Int?
    let after: Int

    static func < (left: Pair, right: Pair) -> Bool {
      (left.after, left.before ?? -1) < (right.after, right.before ?? -1)
    }
  }

  /// `steps`: what changed in the newest views of the classes, when nothing else changed them.
  func all(_ steps: [ClassViews.Step]?) -> [ViewChange] {
    let found: [ViewChange]
    if let steps, new.places == nil, old.places == nil {
      found = steps.flatMap { changes($0, new.rules.classes[$0.classIndex].clusters) }
    } else {
      found = pairs.flatMap { pair, clusters in
        if let steps, pair.before == pair.after, pair.after < new.rules.classes.count {
          return steps.filter { $0.classIndex == pair.after }.flatMap { changes($0, clusters) }
        }
        return changes(pair, clusters)
      }
    }
    return found.sorted { ($0.classIndex, $0.type) < ($1.classIndex, $1.type) }
  }

  /// The new views for those who have the old ones: thousands of clients take the same step, and none of them works it
  /// out. Where clusters come to one view from several, most of them come from one that they had in common.
  var views: [View] {
    var views = new.views
    var known: [View.Passage: Collection] = [:]
    for (pair, _) in pairs.sorted(by: { $0.1.count < $1.1.count }) {
      guard let before = pair.before else { continue }
      views[pair.after] = views[pair.after].following(old.views[before], &known)
    }
    return views
  }

  /// Which views lead to which, and for which clusters. Clusters that are new say nothing where another one does.
  private var pairs: [(Pair, [Int])] {
    let isSame = old.rules.hash == new.rules.hash
    var all: [Pair: [Int]] = [:]
    for cluster in new.rules.clusters {
      let before = isSame ? cluster.index : old.rules.cluster(named: cluster.name)?.index
      let pair = Pair(
        before: before.map { old.place(ofCluster: $0) }, after: new.place(ofCluster: cluster.index))
      all[pair, default: []].append(cluster.index)
    }
    let known = Set(all.keys.filter { $0.before != nil }.map(\.after))
    return all.filter { $0.key.before != nil || !known.contains($0.key.after) }
      .sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
  }

  private func changes(_ pair: Pair, _ clusters: [Int]) -> [ViewChange] {
    let before = pair.before.map { old.views[$0].collections } ?? [:]
    let after = new.views[pair.after].collections
    return Set(before.keys).union(after.keys).sorted().flatMap { type in
      changes(pair.after, type, from: before[type] ?? .empty, to: after[type] ?? .empty, clusters)
    }
  }

  private func changes(_ step: ClassViews.Step, _ clusters: [Int]) -> [ViewChange] {
    changes(step.classIndex, step.type, from: step.before, to: step.after, clusters)
  }

  private func changes(
    _ classIndex: Int, _ type: TypeName, from old: Collection, to new: Collection, _ clusters: [Int]
  ) -> [ViewChange] {
    if old.isEmpty, !new.isEmpty {
      return [
        ViewChange(
          classIndex: classIndex, clusters: clusters, type: type, version: new.version, added: new.names,
          changed: [], removed: [])
      ]
    }
    let difference = Collection.difference(from: old, to: new)
    guard !difference.isEmpty else { return [] }
    let names = difference.changed.map(\.wireName)
    return [
      ViewChange(
        classIndex: classIndex, clusters: clusters, type: type, version: new.version,
        added: names.filter { !old.contains($0) }, changed: names.filter { old.contains($0) },
        removed: difference.removed)
    ]
  }
}
