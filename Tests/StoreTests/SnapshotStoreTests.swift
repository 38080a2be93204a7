// Goal: what was saved comes back whole and equal, whatever steps led to it, and only what changed is written.
// Method: save, forget, restore, compare everything.

import Primitives
import Snapshots
import Testing

@testable import Store

struct SnapshotStoreTests {
  private let folder = TemporaryFolder()

  private func store() -> SnapshotStore { SnapshotStore(folder: folder.path) }

  @Test func anEmptyStoreHasNothing() throws {
    let store = store()
    #expect(try store.restore(now: noon) == nil)
    #expect(try store.kept(.policy, now: noon) == nil)
    #expect(try store.history(now: noon).isEmpty)
  }

  @Test func givesBackWhatWasSaved() throws {
    var world = World()
    world.set([resource("a"), resource("b", source: "dir"), resource("g", body: [], type: gateway)])
    world.collections[sidecar] = .empty
    let store = store()
    try store.save(world.snapshot, sources: world.sources, now: noon)
    store.close()
    let restored = try #require(try self.store().restore(now: noon))
    #expect(portrait(restored) == portrait(world.snapshot))
    #expect(restored.collections[sidecar]?.isEmpty == true)
    #expect(restored.sources == world.sources)
    #expect(restored.savedAt == noon)
  }

  @Test func keepsWhichTypesWereReady() throws {
    var world = World()
    world.isComplete = false
    let store = store()
    try store.save(world.snapshot, sources: [], now: noon)
    store.close()
    let restored = try #require(try store.restore(now: noon))
    #expect(Set(restored.collections.keys) == [virtualService, gateway])
    #expect(!restored.isComplete && restored.sources.isEmpty)
  }

  @Test(arguments: UInt64(1)...6)
  func stepsGiveWhatTheWholeGives(seed: UInt64) throws {
    var generator = SeededGenerator(seed: seed)
    var world = World()
    var store = store()
    for round in 0..<40 {
      world.step(&generator)
      // Snapshots may be skipped: the store finds the difference itself.
      if Bool.random(using: &generator) {
        try store.save(
          world.snapshot, sources: world.sources, now: Timestamp(seconds: noon.seconds + Int64(round)))
      }
      if Int.random(in: 0..<6, using: &generator) == 0 {
        store.close()
        store = self.store()
        if Bool.random(using: &generator) { _ = try store.restore(now: noon) }
      }
    }
    try store.save(world.snapshot, sources: world.sources, now: noon)
    #expect(portrait(try store.restore(now: noon)) == portrait(world.snapshot), "seed \(seed)")
    store.close()
    #expect(portrait(try self.store().restore(now: noon)) == portrait(world.snapshot), "seed \(seed)")
  }

  @Test func theSameContentFromAnotherSourceIsAChange() throws {
    var world = World()
    world.set([resource("a", source: "central")])
    let store = store()
    try store.save(world.snapshot, sources: [], now: noon)
    let version = world.snapshot.version
    world.set([resource("a", source: "dir")])
    #expect(world.snapshot.version == version)
    try store.save(world.snapshot, sources: [], now: noon)
    store.close()
    #expect(try self.store().restore(now: noon)?.collections[virtualService]?["prod/a"]?.source == "dir")
    // It is the same version still: no second one is kept.
    #expect(try self.store().history(now: noon).count == 1)
  }

  @Test func writesWhatChangedAndNoMore() throws {
    var world = World()
    world.set((0..<2000).map { resource("r\($0)", body: [UInt8](repeating: 1, count: 500)) })
    let store = store()
    _ = try store.restore(now: noon)
    try store.write(world.snapshot, sources: world.sources, now: noon)
    store.close()
    _ = try store.restore(now: noon)
    world.set([resource("r77", body: [2])])
    try store.write(world.snapshot, sources: world.sources, now: noon)
    // 2000 objects take above a megabyte; one of them, its indexes and the head fit into a few dozen pages.
    #expect(folder.read("snapshot.db-wal").count < 60 * 4120)
    let before = folder.read("snapshot.db-wal")
    try store.write(world.snapshot, sources: world.sources, now: noon)
    #expect(folder.read("snapshot.db-wal") == before, "nothing changed and something was written")
  }

  @Test func onlyACompleteSnapshotReplacesWhatWasNotRead() throws {
    var world = World()
    world.set([resource("a")])
    let first = store()
    try first.save(world.snapshot, sources: [], now: noon)
    first.close()
    let second = store()
    var partial = World()
    partial.isComplete = false
    #expect(throws: StoreError.unread(path: folder.path + "/snapshot.db")) {
      try second.save(partial.snapshot, sources: [], now: noon)
    }
    partial.isComplete = true
    try second.save(partial.snapshot, sources: [], now: noon)
    #expect(portrait(try second.restore(now: noon)) == portrait(partial.snapshot))
  }

  @Test func creationTimesOutliveTheirObjects() throws {
    var world = World()
    world.set([resource("a", created: 11), resource("b", created: 12), resource("c", created: 13)])
    let store = store()
    try store.save(world.snapshot, sources: [], now: noon)
    world.remove("prod/a")
    world.remove("prod/b", cause: .policy)
    try store.save(world.snapshot, sources: [], now: noon)
    store.close()
    var restored = try #require(try store.restore(now: noon))
    #expect(restored.createTime(of: "prod/a", type: virtualService)?.seconds == 11)
    #expect(restored.createTime(of: "prod/b", type: virtualService) == nil)
    #expect(restored.createTime(of: "prod/c", type: virtualService)?.seconds == 13)
    world.set([resource("a", created: 11)])
    try store.save(world.snapshot, sources: [], now: noon)
    restored = try #require(try store.restore(now: noon))
    #expect(restored.departed.values.allSatisfy { $0.isEmpty })
    #expect(restored.createTime(of: "prod/a", type: virtualService)?.seconds == 11)
  }

  @Test func keepsFiles() throws {
    let store = store()
    let policy = [
      KeptFile(path: "/etc/policy/b.yaml", content: Array("b: 1".utf8)),
      KeptFile(path: "/etc/policy/a.yaml", content: []),
    ]
    try store.keep(policy, as: .policy, now: noon)
    try store.keep([KeptFile(path: "/etc/m.yaml", content: [0, 255])], as: .configuration, now: noon)
    store.close()
    #expect(try store.kept(.policy, now: noon) == policy)
    #expect(try store.kept(.configuration, now: noon)?.first?.content == [0, 255])
    try store.keep([policy[1]], as: .policy, now: noon)
    #expect(try store.kept(.policy, now: noon) == [policy[1]])
  }

  @Test func nobodyElseMayReadIt() throws {
    let inner = SnapshotStore(folder: folder.path + "/state")
    try inner.save(World().snapshot, sources: [], now: noon)
    try inner.write(
      {
        var world = World()
        world.set([resource("a")])
        return world.snapshot
      }(), sources: [], now: noon)
    #expect(folder.mode("state") == 0o700)
    let files = ["state/snapshot.db", "state/snapshot.db-wal"]
    for file in files { #expect(folder.mode(file) == 0o600, "\(file)") }
    inner.close()
    for file in files { folder.remove(file) }
  }

  @Test func aLooseFileIsTightened() throws {
    folder.write([], "snapshot.db")
    #expect(folder.mode("snapshot.db") & 0o077 != 0)
    try store().save(World().snapshot, sources: [], now: noon)
    #expect(folder.mode("snapshot.db") == 0o600)
  }
}
