// Goal: every kept version comes back as it was; the past has an end; what we lost the right to have is in no
// version and in no file. Method: a seeded walk beside a list of everything that was saved.

import Primitives
import Snapshots
import Testing

@testable import Store

struct HistoryTests {
  private let folder = TemporaryFolder()

  private func content(_ collections: [TypeName: Collection]) -> [String] {
    collections.filter { !$0.value.isEmpty }.sorted { $0.key < $1.key }.flatMap { type, collection in
      collection.resources.map { "\(type) \($0.wireName) \($0.source) \($0.version) \($0.createTime)" }
    }
  }

  @Test(arguments: UInt64(1)...4)
  func everyKeptVersionComesBack(seed: UInt64) throws {
    var generator = SeededGenerator(seed: seed)
    var world = World()
    let store = SnapshotStore(folder: folder.path, history: HistoryLimits(versions: 10))
    var saved: [(version: Version, content: [String])] = []
    for round in 0..<40 {
      // No policy here: what it removes is in no version.
      for _ in 0..<Int.random(in: 0..<3, using: &generator) {
        let name = "r\(Int.random(in: 0..<9, using: &generator))"
        let body = [UInt8.random(in: 0..<3, using: &generator)]
        if Bool.random(using: &generator) {
          world.set([resource(name, body: body)])
        } else {
          world.remove("prod/" + name)
        }
      }
      let now = Timestamp(seconds: noon.seconds + Int64(round))
      try store.save(world.snapshot, sources: [], now: now)
      if saved.last?.version != world.snapshot.version {
        saved.append((world.snapshot.version, content(world.collections)))
      }
    }
    let history = try store.history(now: noon)
    #expect(history.map(\.version) == saved.suffix(10).reversed().map(\.version), "seed \(seed)")
    for entry in history {
      let kept = try store.snapshot(version: entry.version.description, now: noon)
      let expected = saved.last { $0.version == entry.version }
      #expect(content(kept.collections) == expected?.content, "seed \(seed)")
      #expect(!kept.entry.isCut && kept.entry.resources == expected?.content.count, "seed \(seed)")
    }
    store.close()
  }

  /// What did not change since is the very object that is served: going back costs what changed.
  @Test func aKeptVersionSharesWhatStands() throws {
    let store = SnapshotStore(folder: folder.path)
    defer { store.close() }
    var world = World()
    world.set((0..<400).map { resource("r\($0)") })
    try store.save(world.snapshot, sources: [], now: noon)
    let old = world.snapshot
    world.set([resource("r7", body: [1]), resource("new")])
    world.remove("prod/r9")
    try store.save(world.snapshot, sources: [], now: noon)
    let before = try store.snapshot(version: old.version.description, now: noon)
    #expect(content(before.collections) == content(old.collections))
    let served = try #require(world.collections[virtualService])
    let shared = before.collections[virtualService]?.resources.filter { served[$0.wireName] === $0 }
    #expect(shared?.count == 398)
    // The same without anything in memory.
    store.close()
    let alone = try store.snapshot(version: old.version.description, now: noon)
    #expect(content(alone.collections) == content(old.collections))
    // A restart that finds a version kept by nothing in memory gives the same, too.
    _ = try store.restore(now: noon)
    let again = try store.snapshot(version: old.version.description, now: noon)
    #expect(content(again.collections) == content(old.collections))
  }

  @Test func aVersionIsFoundByItsBeginning() throws {
    let store = SnapshotStore(folder: folder.path)
    var world = World()
    for name in ["a", "b", "c"] {
      world.set([resource(name)])
      try store.save(world.snapshot, sources: [], now: noon)
    }
    let middle = try store.history(now: noon)[1]
    let prefix = String(middle.version.description.prefix(8))
    #expect(try store.snapshot(version: prefix, now: noon).entry == middle)
    #expect(throws: StoreError.ambiguousVersion("")) { try store.snapshot(version: "", now: noon) }
    #expect(throws: StoreError.noSuchVersion("zz")) { try store.snapshot(version: "zz", now: noon) }
    store.close()
  }

  @Test func whatPolicyTookIsInNoVersionAndNoFile() throws {
    let secret = Array("the-secret-of-team-b".utf8)
    let store = SnapshotStore(folder: folder.path)
    var world = World()
    world.set([resource("a"), resource("b", body: secret)])
    try store.save(world.snapshot, sources: [], now: noon)
    world.set([resource("b", body: secret + [1])])
    try store.save(world.snapshot, sources: [], now: noon)
    world.set([resource("c")])
    try store.save(world.snapshot, sources: [], now: noon)
    #expect(contains(secret))
    world.remove("prod/b", cause: .policy)
    try store.save(world.snapshot, sources: [], now: noon)
    #expect(!contains(secret))
    let history = try store.history(now: noon)
    #expect(history.map(\.isCut) == [false, true, true, true])
    for entry in history {
      let kept = try store.snapshot(version: entry.version.description, now: noon)
      #expect(kept.collections[virtualService]?["prod/b"] == nil)
      #expect(kept.collections[virtualService]?["prod/a"] != nil)
    }
    store.close()
    #expect(!contains(secret))
    #expect(portrait(try SnapshotStore(folder: folder.path).restore(now: noon)) == portrait(world.snapshot))
  }

  /// Whether some file of the folder has these bytes.
  private func contains(_ bytes: [UInt8]) -> Bool {
    folder.names.contains { name in
      let content = folder.read(name)
      return content.indices.contains { content[$0...].starts(with: bytes) }
    }
  }

  @Test func thePastEndsByAge() throws {
    let store = SnapshotStore(folder: folder.path, history: HistoryLimits(age: .seconds(60)))
    var world = World()
    for second in [0, 30, 100] {
      world.set([resource("r\(second)")])
      try store.save(world.snapshot, sources: [], now: Timestamp(seconds: noon.seconds + Int64(second)))
    }
    #expect(try store.history(now: noon).map(\.savedAt.seconds) == [noon.seconds + 100])
    // The last good snapshot has no age.
    world.sequence += 1
    try store.save(world.snapshot, sources: [], now: Timestamp(seconds: noon.seconds + 100_000))
    #expect(portrait(try store.restore(now: noon)) == portrait(world.snapshot))
    store.close()
  }

  @Test func thePastEndsBySize() throws {
    let store = SnapshotStore(folder: folder.path, history: HistoryLimits(bytes: 2_000_000))
    var world = World()
    for round in UInt8(0)..<60 {
      world.set([resource("big", body: [UInt8](repeating: round, count: 100_000))])
      try store.save(world.snapshot, sources: [], now: noon)
    }
    #expect(folder.read("snapshot.db").count < 3_000_000)
    #expect(try store.history(now: noon).count > 3)
    #expect(portrait(try store.restore(now: noon)) == portrait(world.snapshot))
    // Above the limit alone, the last good snapshot is kept still.
    for index in 0..<25 {
      world.set([resource("more-\(index)", body: [UInt8](repeating: 1, count: 100_000))])
    }
    try store.save(world.snapshot, sources: [], now: noon)
    #expect(try store.history(now: noon).count == 1)
    #expect(portrait(try store.restore(now: noon)) == portrait(world.snapshot))
    store.close()
  }

  @Test func thePastIsCollected() throws {
    let store = SnapshotStore(folder: folder.path, history: HistoryLimits(versions: 1))
    var world = World()
    let old = Array("the-former-content-of-a".utf8)
    world.set([resource("a", body: old)])
    try store.save(world.snapshot, sources: [], now: noon)
    world.set([resource("a", body: [1])])
    try store.save(world.snapshot, sources: [], now: noon)
    #expect(!contains(old))
    store.close()
  }
}
