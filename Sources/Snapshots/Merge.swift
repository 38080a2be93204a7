// Merging: several sources become one snapshot. Pure: no clock, no order but the configured one.
//
// Sources stand in order of preference. Where two have one name, the earlier one's object is served
// and the conflict is reported. A type is ready when every source that can supply it has answered for
// it; until then it is pending, or stays what was last served if it was ready before. The cost of an
// update is that of what it changes.
//
// Two objects of one source that differ in creation time alone count as equal: the time is outside the
// content hash, and a later content change brings it along.

/// The state of merging.
public struct Merge: Sendable {
  private var sources: [SourceState]
  /// What the sources say together, by type, ready or not.
  private var merged: [TypeName: Collection] = [:]
  /// What the snapshot shows. Differs from `merged` only for types that are not ready.
  private var served: [TypeName: Collection] = [:]
  private var conflictsByName: [TypeName: [String: Conflict]] = [:]
  private var causes = RemovalCauses()

  private struct SourceState: Sendable {
    var spec: MergeSource
    var collections: [TypeName: Collection] = [:]
    var answered: Set<TypeName> = []
    var isComplete = false
    /// It had delivered once before a restart, and its part is served from the store.
    var wasComplete = false

    func isAwaited(for type: TypeName) -> Bool {
      spec.supplies(type) && !answered.contains(type) && !(spec.listsEverything && isComplete)
    }
  }

  /// `sources` in order of preference, each name once.
  public init(sources: [MergeSource]) {
    precondition(Set(sources.map(\.name)).count == sources.count, "two sources bear one name")
    self.sources = sources.map { SourceState(spec: $0) }
  }

  /// A name that several sources have.
  public struct Conflict: Sendable, Equatable {
    public let type: TypeName
    public let name: String
    /// The source whose object is served.
    public let winner: String
    /// The others, in order of preference.
    public let losers: [String]
  }

  /// What one update changed in the snapshot.
  public struct Change: Sendable {
    /// By type, sorted by it.
    public var types: [TypeChange] = []
    /// Some type, or the whole, became ready.
    public var readinessChanged = false
    /// Conflicts that are new or have another outcome.
    public var conflicts: [Conflict] = []
    /// Objects the source may not supply.
    public var setAside: [Rejection] = []
    /// What a source may no longer let us have.
    public var revoked: [Revocation] = []

    /// No change.
    public init() {}

    public var isEmpty: Bool { types.isEmpty && !readinessChanged }
  }

  /// The end of our own right to objects of one source: nothing that was kept of them may be shown again.
  public struct Revocation: Sendable, Equatable {
    public let source: String
    public let type: TypeName
    /// Wire names.
    public let names: Set<String>
    /// Namespaces in which the source is left with nothing of the type. What it removed there earlier for
    /// other reasons has most likely lost its grant, too, and nobody would tell.
    public let namespaces: Set<String>

    /// Whether a kept object is meant; what the source still sends is not asked about.
    public func covers(_ resource: Resource) -> Bool {
      resource.source == source && resource.type == type
        && (names.contains(resource.wireName) || namespaces.contains(resource.namespace))
    }

    public init(source: String, type: TypeName, names: Set<String>, namespaces: Set<String>) {
      self.source = source
      self.type = type
      self.names = names
      self.namespaces = namespaces
    }
  }

  /// The change of one type in the snapshot.
  public struct TypeChange: Sendable {
    public let type: TypeName
    public let upserts: [Resource]
    public let removals: [String]
    /// All there is of the type from now on.
    public let after: Collection
  }

  /// All conflicts that stand, by type and name.
  public var conflicts: [Conflict] {
    conflictsByName.sorted { $0.key < $1.key }.flatMap { entry in
      entry.value.sorted { $0.key < $1.key }.map(\.value)
    }
  }

  /// What a source holds of a type: where its subscriber resumes after a reconnect or restart.
  public func held(by source: String) -> [TypeName: Collection] {
    sources.first { $0.spec.name == source }?.collections ?? [:]
  }

  /// Types nobody has answered who could.
  public var pendingTypes: [TypeName] { knownTypes.filter { !isReady($0) }.sorted() }

  /// Every source has delivered once, in this life or, restored from a store, in an earlier one.
  public var isComplete: Bool { sources.allSatisfy { $0.isComplete || $0.wasComplete } }

  /// Names of the sources that have delivered once, in order of preference: what a store keeps beside
  /// the snapshot, for `restore` after a restart.
  public var completeSources: [String] {
    sources.filter { $0.isComplete || $0.wasComplete }.map(\.spec.name)
  }

  /// The snapshot as it stands.
  public func snapshot(at position: Position, _ positions: [TypeName: Position] = [:]) -> Snapshot {
    let pending = Set(knownTypes.filter { served[$0] == nil && !isReady($0) })
    return Snapshot(
      collections: served, pending: pending, isComplete: isComplete, position: position,
      positions: positions, removalCauses: causes)
  }

  /// Takes over one step of a source. A step of a source that is not configured changes nothing.
  public mutating func apply(_ update: SourceUpdate) -> Change {
    guard let index = sources.firstIndex(where: { $0.spec.name == update.source }) else { return Change() }
    var change = Change()
    let before = readiness
    switch update.kind {
    case .replace(let type, let resources):
      let admitted = admit(resources, of: index, &change)
      let held = sources[index].collections[type] ?? .empty
      let kept = Set(admitted.map(\.wireName))
      set(
        type, of: index, upserts: admitted, removals: held.names.filter { !kept.contains($0) },
        cause: update.removals, &change)
    case .change(let type, let upserts, let removals):
      // An object that may no longer be supplied takes its place away too.
      let admitted = admit(upserts, of: index, &change)
      let kept = Set(admitted.map(\.wireName))
      let refused = upserts.map(\.wireName).filter { !kept.contains($0) }
      set(
        type, of: index, upserts: admitted, removals: removals + refused, cause: update.removals, &change)
    case .complete:
      dropUnmentioned(by: index, cause: update.removals, &change)
      sources[index].isComplete = true
    }
    for type in knownTypes.sorted() where isReady(type) {
      if served[type] == nil || !before.types.contains(type) { serveAnew(type, &change) }
    }
    change.readinessChanged = before != readiness
    change.types.sort { $0.type < $1.type }
    return change
  }

  /// A source that lists everything has nothing of what it held before a restart and did not mention since.
  private mutating func dropUnmentioned(by index: Int, cause: RemovalCause, _ change: inout Change) {
    guard sources[index].spec.listsEverything else { return }
    let source = sources[index]
    for (type, held) in source.collections.sorted(by: { $0.key < $1.key })
    where !source.answered.contains(type) {
      set(type, of: index, upserts: [], removals: held.names, cause: cause, &change)
    }
  }

  /// Continues with other sources, or others' rules. Sources that keep their name keep what they
  /// delivered; types that a new source can supply show what was served last until it has answered.
  public mutating func replace(sources specs: [MergeSource]) -> Change {
    var next = Merge(sources: specs)
    next.causes = causes
    var change = Change()
    let before = readiness
    for spec in specs {
      guard let index = next.sources.firstIndex(where: { $0.spec.name == spec.name }),
        let old = sources.first(where: { $0.spec.name == spec.name })
      else { continue }
      next.sources[index].answered = old.answered
      next.sources[index].isComplete = old.isComplete
      next.sources[index].wasComplete = old.wasComplete
      for (type, collection) in old.collections.sorted(by: { $0.key < $1.key }) {
        let admitted = next.admit(collection.resources, of: index, &change)
        next.set(type, of: index, upserts: admitted, removals: [], cause: .source, &change)
        // What is only restored is no answer of this source.
        if !old.answered.contains(type) { next.sources[index].answered.remove(type) }
      }
    }
    // Nothing was served of `next` so far: what counts is the step from what is served now.
    next.served = served
    self = next
    for type in knownTypes.sorted() where isReady(type) { serveAnew(type, &change) }
    change.readinessChanged = before != readiness
    change.types.sort { $0.type < $1.type }
    return change
  }

  /// Continues from what was served before a restart. Call before any update.
  ///
  /// Each type is served as it was last known until every source that can supply it has answered in
  /// this life. What a source had delivered it holds again (`held`), so its subscriber must begin from
  /// there: what it removed meanwhile is otherwise never noticed. Objects that no configured source may
  /// supply any more are left out. `completeSources` had delivered once.
  public mutating func restore(
    _ collections: [TypeName: Collection], completeSources: Set<String>
  ) -> Change {
    precondition(served.isEmpty && sources.allSatisfy(\.answered.isEmpty), "restored after an update")
    for index in sources.indices {
      sources[index].wasComplete = completeSources.contains(sources[index].spec.name)
    }
    var change = Change()
    for (type, collection) in collections.sorted(by: { $0.key < $1.key }) {
      guard sources.contains(where: { $0.spec.supplies(type) }) else { continue }
      let kept = collection.resources.filter { maySupply($0) }
      let whole = kept.count == collection.count ? collection : Collection(kept)
      served[type] = whole
      merged[type] = resume(type, with: whole) ? whole : Collection(kept.filter { isConfigured($0.source) })
      if !kept.isEmpty {
        change.types.append(TypeChange(type: type, upserts: kept, removals: [], after: whole))
      }
    }
    change.readinessChanged = true
    return change
  }

  /// Gives every source its part of a restored collection; false when some part is of none of them.
  private mutating func resume(_ type: TypeName, with whole: Collection) -> Bool {
    var given = 0
    for index in sources.indices {
      let own = whole.part(of: sources[index].spec.name)
      if !own.isEmpty { sources[index].collections[type] = own }
      given += own.count
    }
    return given == whole.count
  }

  private func isConfigured(_ source: String) -> Bool { sources.contains { $0.spec.name == source } }

  /// Whether the source of a kept or restored object may supply it; where that source is gone, whether any may:
  /// a source under a new name must not begin with nothing.
  public func maySupply(_ resource: Resource) -> Bool {
    // Names are unique among sources.
    if let named = sources.first(where: { $0.spec.name == resource.source }) {
      return named.spec.supplies(resource.type) && named.spec.admits(resource)
    }
    return sources.contains { $0.spec.supplies(resource.type) && $0.spec.admits(resource) }
  }

  /// Whether a source is one that may be asked for a type.
  public func supplies(_ type: TypeName, source: String) -> Bool {
    sources.contains { $0.spec.name == source && $0.spec.supplies(type) }
  }

  private mutating func admit(_ resources: [Resource], of index: Int, _ change: inout Change) -> [Resource] {
    let spec = sources[index].spec
    return resources.filter { resource in
      if spec.supplies(resource.type) && spec.admits(resource) { return true }
      change.setAside.append(
        Rejection(
          place: spec.name, resource: "\(resource.type) \(resource.wireName)",
          reason: "This source may not supply it (`only`)"))
      return false
    }
  }

  /// Changes what one source holds, and what follows from it for the merged collection.
  private mutating func set(
    _ type: TypeName, of index: Int, upserts: [Resource], removals: [String], cause: RemovalCause,
    _ change: inout Change
  ) {
    let wasReady = isReady(type)
    let held = sources[index].collections[type] ?? .empty
    let latest = Dictionary(upserts.map { ($0.wireName, $0) }) { $1 }
    let changed = latest.values.filter { resource in
      held[resource.wireName].map { $0.version != resource.version || $0.source != resource.source } ?? true
    }
    let gone = removals.filter { latest[$0] == nil && held.contains($0) }
    sources[index].answered.insert(type)
    let kept = held.applying(upserts: changed, removals: gone)
    sources[index].collections[type] = kept
    if cause == .policy, !gone.isEmpty {
      let namespaces = Set(gone.map(WireName.namespace(of:))).filter {
        !$0.isEmpty && !kept.hasName(beginning: $0 + "/")
      }
      change.revoked.append(
        Revocation(
          source: sources[index].spec.name, type: type, names: Set(gone), namespaces: namespaces))
    }

    var winners: [Resource] = []
    var losses: [String] = []
    let current = merged[type] ?? .empty
    for name in Set(changed.map(\.wireName)).union(gone).sorted() {
      let (winner, losers) = candidates(type, name)
      note(type, name, winner, losers, &change)
      if let winner {
        if current[name]?.isInterchangeable(with: winner) != true { winners.append(winner) }
      } else if current.contains(name) {
        losses.append(name)
      }
    }
    merged[type] = current.applying(upserts: winners, removals: losses)
    causes.record(cause, type: type, names: losses)
    causes.forget(type: type, names: winners.map(\.wireName))
    // A type that was not ready is served as a whole when it becomes so.
    guard wasReady, served[type] != nil else { return }
    served[type] = merged[type]
    if !winners.isEmpty || !losses.isEmpty {
      change.types.append(
        TypeChange(type: type, upserts: winners, removals: losses, after: merged[type] ?? .empty))
    }
  }

  private func candidates(_ type: TypeName, _ name: String) -> (winner: Resource?, losers: [Resource]) {
    let all = sources.compactMap { $0.collections[type]?[name] }
    return (all.first, Array(all.dropFirst()))
  }

  private mutating func note(
    _ type: TypeName, _ name: String, _ winner: Resource?, _ losers: [Resource], _ change: inout Change
  ) {
    guard let winner, !losers.isEmpty else {
      conflictsByName[type]?.removeValue(forKey: name)
      return
    }
    let conflict = Conflict(type: type, name: name, winner: winner.source, losers: losers.map(\.source))
    if conflictsByName[type, default: [:]].updateValue(conflict, forKey: name) != conflict {
      change.conflicts.append(conflict)
    }
  }

  /// Makes `merged` what is served, whatever was served before.
  private mutating func serveAnew(_ type: TypeName, _ change: inout Change) {
    let old = served[type] ?? .empty
    let new = merged[type] ?? .empty
    served[type] = new
    let upserts = new.resources.filter { old[$0.wireName]?.isInterchangeable(with: $0) != true }
    let removals = old.names.filter { !new.contains($0) }
    if !upserts.isEmpty || !removals.isEmpty {
      change.types.append(TypeChange(type: type, upserts: upserts, removals: removals, after: new))
    }
  }

  /// The types of the table, and whatever else some source delivered.
  private var knownTypes: Set<TypeName> {
    var types = Merge.tableTypes
    types.formUnion(served.keys)
    for source in sources { types.formUnion(source.answered) }
    return types
  }

  private static let tableTypes = Set((Kinds.all + Kinds.classic).map(\.type))

  private func isReady(_ type: TypeName) -> Bool {
    !sources.isEmpty && !sources.contains { $0.isAwaited(for: type) }
  }

  private var readiness: Readiness {
    Readiness(types: Set(knownTypes.filter { isReady($0) }), isComplete: isComplete)
  }

  private struct Readiness: Equatable {
    let types: Set<TypeName>
    let isComplete: Bool
  }
}
