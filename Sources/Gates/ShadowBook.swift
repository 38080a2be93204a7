// A second policy evaluated beside the one in force: what each cluster would gain, lose and be shown otherwise of the
// newest snapshot, in numbers. Nothing here is ever served.
//
// Pairs of classes, one of each policy, are what is counted: clusters of one pair differ in the same way. Pairs whose
// rules say the same are never looked at. A change is judged twice, as objects were and as they are, so that no names
// are kept: it costs O(changed objects × classes of differing pairs that may see them), and memory for the pairs alone.
// Gates are no part of it. Pure.

public import Policy
public import Snapshots

public struct ShadowBook: Sendable {
  /// Objects of the newest snapshot.
  public struct Counts: Sendable, Equatable {
    /// Seen under the shadow alone.
    public var added = 0
    /// Seen under both, with other keys hidden.
    public var changed = 0
    /// Seen under the policy in force alone.
    public var removed = 0

    public init() {}

    public var isEmpty: Bool { added == 0 && changed == 0 && removed == 0 }
  }

  private struct Pair: Hashable {
    /// Class of the policy in force; nil: it does not have the cluster.
    let enforced: Int?
    let shadow: Int?
  }

  private let pairs: [Pair]
  /// By pair, sorted.
  private let clusters: [[String]]
  private var enforced: Side
  private var shadow: Side
  private var counts: [Counts]

  /// One of the two policies.
  private struct Side {
    let rules: PolicyRules
    /// By class index: places of its pairs.
    let places: [Int: [Int]]
    var index: ClassIndex
    /// Rules of a class asked about an object, so far.
    var evaluations: UInt64 = 0

    init(_ rules: PolicyRules, _ classOf: [Int?]) {
      self.rules = rules
      var places: [Int: [Int]] = [:]
      for (place, candidate) in classOf.enumerated() {
        if let candidate { places[candidate, default: []].append(place) }
      }
      self.places = places
      index = ClassIndex(rules, only: Set(places.keys))
    }

    /// Classes of differing pairs that see an object.
    mutating func seen(_ facts: ResourceFacts) -> Set<Int> {
      let candidates = index.candidates(type: facts.type, namespace: facts.namespace)
      evaluations += UInt64(candidates.count)
      return Set(candidates.filter { rules.isVisible(facts, class: $0) })
    }

    func hidden(of resource: Resource, _ candidate: Int) -> [String] {
      rules.classes[candidate].redaction?.hidden(of: resource) ?? []
    }
  }

  /// Looks at the whole snapshot once.
  public init(enforced: PolicyRules, shadow: PolicyRules, _ snapshot: Snapshot) {
    var members: [Pair: [String]] = [:]
    for name in Set(enforced.clusters.map(\.name)).union(shadow.clusters.map(\.name)) {
      let pair = Pair(
        enforced: enforced.cluster(named: name)?.classIndex, shadow: shadow.cluster(named: name)?.classIndex)
      members[pair, default: []].append(name)
    }
    let differing = members.filter { pair, _ in
      guard let old = pair.enforced, let new = pair.shadow else { return true }
      return !enforced.classes[old].says(theSameAs: shadow.classes[new])
    }.sorted {
      ($0.key.enforced ?? -1, $0.key.shadow ?? -1) < ($1.key.enforced ?? -1, $1.key.shadow ?? -1)
    }
    pairs = differing.map(\.key)
    clusters = differing.map { $0.value.sorted() }
    self.enforced = Side(enforced, pairs.map(\.enforced))
    self.shadow = Side(shadow, pairs.map(\.shadow))
    counts = Array(repeating: Counts(), count: pairs.count)
    guard !pairs.isEmpty else { return }
    for collection in snapshot.collections.values {
      for resource in collection.resources { note(resource, by: 1) }
    }
  }

  /// The same shadow beside other rules.
  public func beside(_ rules: PolicyRules, _ snapshot: Snapshot) -> ShadowBook {
    ShadowBook(enforced: rules, shadow: shadow.rules, snapshot)
  }

  /// Takes over a change from one snapshot to the next.
  public mutating func apply(_ change: Merge.Change, from old: Snapshot, to new: Snapshot) {
    guard !pairs.isEmpty else { return }
    var names: [TypeName: Set<String>] = [:]
    for type in change.types {
      names[type.type, default: []].formUnion(type.removals)
      names[type.type, default: []].formUnion(type.upserts.map(\.wireName))
    }
    // As they were and as they are, whatever the steps between.
    for (type, names) in names {
      for name in names {
        let (before, after) = (old.collections[type]?[name], new.collections[type]?[name])
        if let before, let after, before === after { continue }
        if let before { note(before, by: -1) }
        if let after { note(after, by: 1) }
      }
    }
  }

  private mutating func note(_ resource: Resource, by step: Int) {
    let facts = ResourceFacts(resource)
    let (now, then) = (enforced.seen(facts), shadow.seen(facts))
    for candidate in now {
      for place in enforced.places[candidate] ?? [] {
        guard let other = pairs[place].shadow, then.contains(other) else {
          counts[place].removed += step
          continue
        }
        if enforced.hidden(of: resource, candidate) != shadow.hidden(of: resource, other) {
          counts[place].changed += step
        }
      }
    }
    for candidate in then {
      for place in shadow.places[candidate] ?? [] {
        if let other = pairs[place].enforced, now.contains(other) { continue }
        counts[place].added += step
      }
    }
  }

  // MARK: what it comes to

  /// The second policy.
  public var rules: PolicyRules { shadow.rules }

  /// Rules of a class asked about an object, so far: what changes have cost.
  public var evaluations: UInt64 { enforced.evaluations + shadow.evaluations }

  /// Clusters that would be served something else, sorted by name.
  public var differences: [(cluster: String, counts: Counts)] {
    zip(clusters, counts).filter { !$0.1.isEmpty }
      .flatMap { names, counts in names.map { (cluster: $0, counts: counts) } }
      .sorted { $0.cluster < $1.cluster }
  }
}
