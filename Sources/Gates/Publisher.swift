// The publisher's state: the views of all policy classes, and which view each cluster may have.
//
// A change of the snapshot costs O(changed resources × classes that may see them), and for clusters behind a gate
// what the gate asks. Runs on the publisher's worker; pure: time is a parameter. What operators decide is in
// GateCommands.swift, what the brake decides in Braking.swift.

public import Policy
public import Primitives
public import Snapshots

/// What became of one type in one view: what a `publish` record of the audit tells.
public struct ViewChange: Sendable, Equatable {
  /// Index of the view in the new generation.
  public let classIndex: Int
  /// For whom: indices in the generation's rules, ascending. Clusters behind a gate are not with their class.
  public let clusters: [Int]
  public let type: TypeName
  /// The collection's version in this view.
  public let version: Version
  /// Wire names, sorted.
  public let added: [String]
  public let changed: [String]
  public let removed: [String]
}

/// What the brake did.
public enum GateEvent: Sendable, Equatable {
  case held(cluster: String, version: Version, reason: String)
  /// What the sources say now is no longer too much.
  case letGo(cluster: String)
}

/// A new generation and what is new in it.
public struct Publication: Sendable {
  public let generation: Generation
  /// By class, then type. Only views that changed for somebody; one entry for each view that its clusters had.
  public let changes: [ViewChange]
  public let events: [GateEvent]
}

/// Makes generations.
public struct Publisher: Sendable {
  /// The last that was published.
  public private(set) var current: Generation
  public internal(set) var gates = GateBook()
  public private(set) var brake: Brake
  /// What the next generation is made of.
  private(set) var rules: PolicyRules
  var newest = Snapshot.nothing
  var views: ClassViews
  var kept = KeptViews()
  var ledger: RemovalLedger
  /// By class index: why names are gone that an operator let pass.
  var causes: [RemovalCauses]
  /// What `causes` has of releases, by the first cluster of each class.
  private var released: [String: [TypeName: Set<String>]] = [:]
  /// By class index: the edition of `causes` that `released` was made from.
  private var releasedFrom: [UInt64?] = []
  private var releasedEdition: UInt64 = 0
  /// By cluster: the first removal that counts for it. Earlier ones were judged already.
  var marks: [String: UInt64] = [:]
  var events: [GateEvent] = []
  private var gateNumber: UInt64 = 0
  /// By class index: what it is told of its own grant.
  private var grants: [Collection] = []
  /// What the tiers above say they grant us.
  private(set) var received = ReceivedGrants()
  /// Names of all sources there are.
  private var sources: [String]

  /// `canonicalize`: that of admission, so that what a redaction leaves has the version it has on every tier.
  public init(
    rules: PolicyRules, brake: Brake, sources: [String] = [], canonicalize: BodyCanonicalizer? = nil
  ) {
    self.rules = rules
    self.sources = sources
    self.brake = brake
    views = ClassViews(rules, RedactedForms(canonicalize: canonicalize))
    causes = rules.classes.map { _ in RemovalCauses() }
    ledger = RemovalLedger(classes: rules.classes.count)
    current = Generation(
      number: 0, rules: rules, snapshot: .nothing,
      views: rules.classes.map { _ in View(number: 0, collections: [:], snapshot: .nothing) })
    tellGrants()
  }

  private mutating func tellGrants() {
    grants = zip(rules.classes, received.texts(for: rules, of: sources)).map { policy, text in
      let told = GrantNotice.collection(text)
      return told.isEmpty ? GrantNotice.collection(Grant.text(of: policy)) : told
    }
  }

  // MARK: what comes from sources, policy and configuration

  /// Publishes a change of the snapshot. `snapshot` is what it led to.
  public mutating func apply(
    _ change: Merge.Change, snapshot: Snapshot, now: Timestamp
  ) -> Publication {
    let (previous, before) = (newest, views.visible)
    newest = snapshot
    erase(change.revoked)
    ledger.erase(change.revoked, rules, &views.index)
    let steps = change.types.flatMap { views.apply($0, rules) }
    noteReleases(steps)
    noteReturns(change, since: previous)
    ledger.trim(now: now, window: brake.window, rules, &views.index)
    let first = ledger.next
    let losers = noteRemovals(change, since: previous, now: now)
    letGo()
    if !losers.isEmpty {
      hold(losers, at: previous, before, removalsFrom: first, erasing: change.revoked, now: now)
    }
    ledger.trim(now: now, window: brake.window, rules, &views.index)
    return publish(steps)
  }

  /// Publishes other rules over the same snapshot.
  public mutating func replace(rules next: PolicyRules) -> Publication {
    let (old, lost) = (rules, ledger.losses(views.index, of: rules))
    rules = next
    tellGrants()
    views.replace(rules, newest.collections)
    ledger.recount(rules, &views.index)
    causes = rules.classes.map { policy in
      // What its first cluster was told; nothing, if that is new.
      let name = rules.clusters[policy.clusters[0]].name
      return old.cluster(named: name).map { causes[$0.classIndex] } ?? RemovalCauses()
    }
    noteHidden(lost, under: old)
    releasedFrom = []
    kept.forgetCuts()
    marks = marks.filter { rules.cluster(named: $0.key) != nil }
    gates.held = gates.held.filter { rules.cluster(named: $0.key) != nil }
    letGo()
    return publish(nil)
  }

  /// Objects that their source removed shortly before the right to see them ended: who still has them, because it
  /// is slow to answer, is told that policy takes them.
  private mutating func noteHidden(_ lost: [RemovalLedger.Loss], under old: PolicyRules) {
    for loss in lost {
      let facts = ResourceFacts(loss.object)
      for cluster in loss.classes.flatMap({ old.classes[$0].clusters }) {
        guard let now = rules.cluster(named: old.clusters[cluster].name),
          !rules.isVisible(facts, class: now.classIndex)
        else { continue }
        causes[now.classIndex].record(.policy, type: loss.object.type, names: [loss.object.wireName])
      }
    }
  }

  /// Publishes with another brake: what it does not hold goes. What went while there was none does not count.
  public mutating func replace(brake next: Brake) -> Publication {
    if brake.isOff {
      for cluster in rules.clusters { marks[cluster.name] = ledger.next }
    }
    brake = next
    letGo()
    return publish(nil)
  }

  /// Continues with gates that outlived a restart. Before anything is served.
  public mutating func restore(gates restored: GateBook) {
    precondition(newest.collections.isEmpty, "gates are restored before anything is served")
    var book = restored
    book.update { $0.number = takeNumber() }
    gates = book
  }

  /// Continues with what an earlier process remembered. Before anything is served.
  public mutating func restore(memory: GateMemory) {
    precondition(newest.collections.isEmpty, "memory is restored before anything is served")
    ledger = RemovalLedger(memory, rules, &views.index)
    marks = memory.marks
    for (source, text) in memory.grants { _ = received.note(text, of: source) }
    tellGrants()
    kept.restore(memory.lastForms)
    for (name, types) in memory.released {
      guard let cluster = rules.cluster(named: name) else { continue }
      for (type, names) in types {
        causes[cluster.classIndex].record(.released, type: type, names: Array(names))
      }
    }
  }

  /// What the next process must remember. Shares what it can with this one.
  public var memory: GateMemory {
    var memory = GateMemory()
    memory.first = ledger.first
    memory.removals = ledger.entries
    memory.marks = marks
    memory.released = released
    memory.lastForms = kept.remembered
    memory.grants = received.texts
    memory.edition = releasedEdition &+ kept.edition
    return memory
  }

  /// Costs what changed, by class.
  private mutating func noteReleased() {
    if releasedFrom.count != causes.count {
      releasedFrom = causes.map { _ in nil }
      released = [:]
      releasedEdition &+= 1
    }
    for (index, known) in causes.enumerated() where releasedFrom[index] != known.edition {
      releasedFrom[index] = known.edition
      let names = known.names(because: .released)
      released[rules.clusters[rules.classes[index].clusters[0]].name] =
        names.isEmpty ? nil : names.mapValues { Set($0) }
      releasedEdition &+= 1
    }
  }

  /// Takes out of what gates keep what no source may supply any more.
  public mutating func restrictKept(to admits: (Resource) -> Bool) -> Bool {
    var isChanged = false
    gates.update { gate in
      var names: [TypeName: Set<String>] = [:]
      for (type, collection) in gate.base.collections {
        let gone = collection.resources.filter { !admits($0) }.map(\.wireName)
        if !gone.isEmpty { names[type] = Set(gone) }
      }
      guard !names.isEmpty else { return }
      gate.base = gate.base.erasing(names, because: .policy)
      isChanged = true
    }
    if isChanged { kept.forgetCuts() }
    return isChanged
  }

  // MARK: what the tiers above grant us

  /// Takes over what a source says it grants us; nil: it does not say. False when that is not new. What it leaves
  /// over is `ungranted`, for a change that the caller publishes.
  public mutating func note(grant text: String?, of source: String) -> Bool {
    guard received.note(text, of: source) else { return false }
    tellGrants()
    for loss in ledger.losses(views.index, of: rules) where !received.mayHave(ResourceFacts(loss.object)) {
      // Who still has it, because it is slow to answer, loses it by policy.
      for candidate in loss.classes {
        causes[candidate].record(.policy, type: loss.object.type, names: [loss.object.wireName])
      }
    }
    return true
  }

  /// Continues with other sources.
  public mutating func follow(sources names: [String]) {
    sources = names
    // What is kept may be of a source that is gone.
    if gates.isEmpty { received.keepOnly(names) }
    tellGrants()
  }

  mutating func takeNumber() -> UInt64 {
    gateNumber += 1
    return gateNumber
  }

  // MARK: what is known beside the views

  /// What a source may no longer let us have leaves everything that is kept, at once.
  private mutating func erase(_ revoked: [Merge.Revocation]) {
    guard !revoked.isEmpty, !gates.isEmpty else { return }
    eraseKept { $0.collections.names(of: revoked) }
    gates.update { gate in
      for revocation in revoked { gate.passed[revocation.type]?.subtract(revocation.names) }
    }
    kept.forgetForms(of: revoked, gates.bases)
  }

  /// Takes names out of what gates keep, by policy. `names`: those of what one gate keeps.
  mutating func eraseKept(_ names: (Snapshot) -> [TypeName: Set<String>]) {
    var done: [UInt64: (base: Snapshot, names: [TypeName: Set<String>])] = [:]
    gates.update { gate in
      if done[gate.number] == nil {
        let names = names(gate.base)
        done[gate.number] = (names.isEmpty ? gate.base : gate.base.erasing(names, because: .policy), names)
      }
      if let found = done[gate.number] { gate.base = found.base }
    }
    for (number, found) in done where !found.names.isEmpty {
      for candidate in kept.erase(found.names, gate: number) {
        for (type, names) in found.names {
          // Who leaves the gate at once loses them by policy all the same; what is there in another form is not lost.
          let lost = names.filter { newest.collections[type]?.contains($0) != true }
          causes[candidate].record(.policy, type: type, names: Array(lost))
        }
      }
    }
  }

  /// What was released above passes below us, too, for those who are not there to hear it now.
  private mutating func noteReleases(_ steps: [ClassViews.Step]) {
    guard !newest.removalCauses.isEmpty else { return }
    for step in steps where !step.before.isEmpty {
      let released = Collection.difference(from: step.before, to: step.after).removed
        .filter { newest.removalCauses[step.type, $0] == .released }
      if !released.isEmpty { causes[step.classIndex].record(.released, type: step.type, names: released) }
    }
  }

  private mutating func noteReturns(_ change: Merge.Change, since previous: Snapshot) {
    let bases = gates.bases
    for type in change.types {
      if !gates.isEmpty {
        kept.apply(type, bases, rules, views.forms)
        for name in type.removals where newest.collections[type.type]?.contains(name) != true {
          guard let last = previous.collections[type.type]?[name] else { continue }
          // What went by policy is in nothing that is kept, unless another source had one of that name.
          let isRevoked = newest.removalCauses[type.type, name] == .policy
          kept.noteGone(last, outlivesUs: !isRevoked || bases.has(name, type.type))
        }
      }
      guard !type.upserts.isEmpty else { continue }
      if ledger.remembers(type.type) {
        for resource in type.upserts {
          ledger.returned(resource.wireName, type: type.type, rules, &views.index)
        }
      }
      for index in causes.indices where !causes[index].isEmpty {
        causes[index].forget(type: type.type, names: type.upserts.map(\.wireName))
      }
    }
  }

  /// Notes what sources removed in this step. Returns the classes that lost some of it.
  private mutating func noteRemovals(
    _ change: Merge.Change, since previous: Snapshot, now: Timestamp
  ) -> Set<Int> {
    // Also without a brake: whose word a removal was, the tiers below ask, too.
    guard change.types.contains(where: { !$0.removals.isEmpty }) else { return [] }
    var losers: Set<Int> = []
    // What came and went within this step.
    var passing: [TypeName: [String: Resource]] = [:]
    for type in change.types {
      for name in type.removals where isGoneBySource(name, type.type) {
        let resource = passing[type.type]?[name] ?? previous.collections[type.type]?[name]
        guard let resource else { continue }
        losers.formUnion(ledger.removed(resource, at: now, rules, &views.index))
      }
      for resource in type.upserts { passing[type.type, default: [:]][resource.wireName] = resource }
    }
    return losers
  }

  func isGoneBySource(_ name: String, _ type: TypeName) -> Bool {
    newest.collections[type]?.contains(name) != true && newest.removalCauses[type, name] == nil
  }

  // MARK: publishing

  /// `steps`: what changed in the views of the classes, when that is all that changed.
  mutating func publish(_ steps: [ClassViews.Step]?) -> Publication {
    let old = current
    let number = old.number + 1
    var all = rules.classes.map { policy in
      View(
        number: View.number(number, policy.index), collections: views[policy.index], snapshot: newest,
        causes: causes[policy.index], grant: grants[policy.index], form: form(of: policy.index))
    }
    let places = gates.isEmpty ? nil : place(&all, number)
    if gates.isEmpty { kept.clear() }
    noteReleased()
    if steps == nil || places != nil || current.places != nil {
      let next = Generation(number: number, rules: rules, snapshot: newest, views: all, places: places)
      all = ViewChanges(from: current, to: next).views
    }
    current = Generation(number: number, rules: rules, snapshot: newest, views: all, places: places)
    defer { events = [] }
    return Publication(
      generation: current, changes: ViewChanges(from: old, to: current).all(steps), events: events)
  }

  /// Adds the views of clusters behind gates. Returns each cluster's place; nil when none is behind one.
  private mutating func place(_ all: inout [View], _ number: UInt64) -> [Int]? {
    var placeOf: [KeptViews.Key: Int] = [:]
    var bases: [UInt64: Snapshot] = [:]
    let gated = rules.clusters.map { gates.gate(for: $0.name) }
    for (cluster, gate) in zip(rules.clusters, gated) {
      guard let gate else { continue }
      cut(gate, class: cluster.classIndex)
      let key = KeptViews.Key(classIndex: cluster.classIndex, gate: gate.number)
      if gate.isCurrent { kept.noteLosses(key, from: current.collections(ofCluster: cluster.name)) }
    }
    let places = zip(rules.clusters, gated).map { cluster, gate -> Int in
      guard let gate else { return cluster.classIndex }
      let key = KeptViews.Key(classIndex: cluster.classIndex, gate: gate.number)
      if let known = placeOf[key] { return known }
      placeOf[key] = all.count
      let base = bases[gate.number] ?? gate.served(beside: newest)
      bases[gate.number] = base
      all.append(
        View(
          number: View.number(number, all.count), collections: kept[key] ?? [:], snapshot: base,
          causes: kept.causes(key), grant: grants[cluster.classIndex], form: form(of: cluster.classIndex)))
      return all.count - 1
    }
    kept.keepOnly(Set(placeOf.keys))
    return placeOf.isEmpty ? nil : places
  }

  /// What a class is served instead of an object; nil when it is shown all there is of each.
  private func form(of candidate: Int) -> (@Sendable (Resource) -> Resource)? {
    guard let redaction = rules.classes[candidate].redaction else { return nil }
    let canonicalize = views.forms.canonicalize
    return { redaction.form(of: $0, canonicalize) }
  }

  /// What a class sees of what a gate keeps.
  @discardableResult
  mutating func cut(_ gate: Gate, class candidate: Int) -> [TypeName: Collection] {
    let key = KeptViews.Key(classIndex: candidate, gate: gate.number)
    if let known = kept[key] { return known }
    let (newest, last) = (newest.collections, kept.lastForms)
    let cut = views.cut(gate.base.collections, class: candidate, rules) { old in
      if let form = newest[old.type]?[old.wireName] { return form === old ? nil : ResourceFacts(form) }
      return last[old.type]?[old.wireName].map { ResourceFacts($0) }
    }
    kept.set(key, cut)
    if gate.isCurrent { kept.noteLosses(key, from: views[candidate]) }
    return cut
  }
}

extension GateBook {
  /// What gates keep, by their numbers.
  fileprivate var bases: [UInt64: Snapshot] {
    Dictionary(gates.map { ($0.gate.number, $0.gate.base) }) { first, _ in first }
  }
}

extension [UInt64: Snapshot] {
  /// Whether some gate keeps an object of this name.
  func has(_ name: String, _ type: TypeName) -> Bool {
    values.contains { $0.collections[type]?.contains(name) == true }
  }
}

extension PolicyRules {
  /// Clusters are sorted by name.
  public func cluster(named name: String) -> ClusterRules? {
    var (low, high) = (0, clusters.count)
    while low < high {
      let middle = (low + high) / 2
      if clusters[middle].name < name { low = middle + 1 } else { high = middle }
    }
    return low < clusters.count && clusters[low].name == name ? clusters[low] : nil
  }
}

extension Generation {
  /// What a cluster is served; nothing when the rules have none of this name.
  func collections(ofCluster name: String) -> [TypeName: Collection] {
    rules.cluster(named: name).map { views[place(ofCluster: $0.index)].collections } ?? [:]
  }
}
