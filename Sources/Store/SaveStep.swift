// What one save has to write: the difference between what the file holds and a snapshot.

internal import Gates
internal import Primitives
internal import Snapshots

/// What the file holds.
struct WrittenState: Sendable {
  var collections: [TypeName: Collection] = [:]
  var head: Head?
  var sources: [SourceMark] = []
  var memory = GateMemory()
  /// `memory` was written by this process.
  var isMemoryOurs = false

  /// The newest row of the kept versions.
  struct Head: Sendable, Equatable {
    /// Grows by one with each kept version.
    var number: Int64
    var version: Version
    var position: Position
    var isComplete: Bool
  }

  /// An empty file.
  init() {}

  init(_ restored: Restored?) {
    guard let restored else { return }
    collections = restored.collections
    sources = restored.sources
    memory = restored.memory
    head = Head(
      number: restored.number, version: restored.version, position: restored.position,
      isComplete: restored.isComplete)
  }

  var isEmpty: Bool { head == nil }
}

/// One save.
struct SaveStep: Sendable {
  struct TypeEdits: Sendable {
    let type: TypeName
    let upserts: [Resource]
    let removals: [Removal]
  }

  struct Removal: Sendable {
    let name: String
    let createTime: Timestamp
    /// Its source may not let us have it any more: nothing of it stays.
    let isErased: Bool
  }

  /// By type. A type that became ready and is empty is here without edits.
  let types: [TypeEdits]
  /// Types that the file has and the snapshot has not.
  let forgotten: [TypeName]
  /// Nil when the sources are what the file says.
  let sources: [SourceMark]?
  /// What may no longer be kept of the past.
  let revoked: [Merge.Revocation]
  let savedAt: Timestamp
  let resources: Int
  /// What the file holds afterwards.
  let result: WrittenState
  private let isHeadNew: Bool

  init(
    from old: WrittenState, to snapshot: Snapshot, sources marks: [SourceMark],
    revoked: [Merge.Revocation] = [], savedAt: Timestamp
  ) {
    var types: [TypeEdits] = []
    for (type, collection) in snapshot.collections.sorted(by: { $0.key < $1.key }) {
      let before = old.collections[type]
      let edits = Collection.edits(from: before ?? .empty, to: collection)
      if before != nil, edits.upserts.isEmpty, edits.removals.isEmpty { continue }
      let removals = SaveStep.removals(edits.removals, type, from: before, snapshot.removalCauses)
      types.append(TypeEdits(type: type, upserts: edits.upserts, removals: removals))
    }
    let forgotten = old.collections.keys.filter { snapshot.collections[$0] == nil }.sorted()
    for type in forgotten {
      let names = old.collections[type]?.names ?? []
      let removals = SaveStep.removals(names, type, from: old.collections[type], snapshot.removalCauses)
      types.append(TypeEdits(type: type, upserts: [], removals: removals))
    }
    let version = snapshot.version
    let number = old.head.map { $0.version == version ? $0.number : $0.number + 1 } ?? 1
    var result = old
    result.collections = snapshot.collections
    result.sources = marks.sorted { $0.name < $1.name }
    result.head = WrittenState.Head(
      number: number, version: version, position: snapshot.position, isComplete: snapshot.isComplete)
    self.types = types
    self.forgotten = forgotten
    self.revoked = revoked
    self.savedAt = savedAt
    self.sources = result.sources == old.sources ? nil : result.sources
    self.result = result
    resources = snapshot.count
    isHeadNew = result.head != old.head
  }

  var isEmpty: Bool { types.isEmpty && revoked.isEmpty && forgotten.isEmpty && sources == nil && !isHeadNew }

  private static func removals(
    _ names: [String], _ type: TypeName, from old: Collection?, _ causes: RemovalCauses
  ) -> [Removal] {
    names.compactMap { name in
      old?[name].map {
        Removal(name: name, createTime: $0.createTime, isErased: causes[type, name] == .policy)
      }
    }
  }
}
