// Goal: gates come back as they were, with what they keep, whatever history forgets; what a source may no longer let
// us have is in nothing that is kept.
// Method: gates are saved beside snapshots, the store is opened again, and what comes back is compared; the file is
// searched for the bytes of what was taken away.

import Foundation
import Gates
import Policy
import Primitives
import Snapshots
import Testing

@testable import Store

struct StoredGatesTests {
  private let folder = TemporaryFolder()

  private func store(versions: Int = 100) -> SnapshotStore {
    SnapshotStore(folder: folder.path, history: HistoryLimits(versions: versions))
  }

  private func gate(_ kind: Gate.Kind, _ base: Snapshot) -> Gate {
    Gate(kind: kind, base: base, version: base.version, since: noon, reason: "because\tof \(kind)")
  }

  private func portrait(_ book: GateBook) -> [String] {
    book.gates.flatMap { cluster, gate -> [String] in
      [
        "\(cluster ?? "(all)") \(gate.kind) \(gate.version) \(gate.since) \(gate.reason) \(gate.passed.mapValues { $0.sorted() }) "
          + "\(gate.releasedTypes) \(gate.base.position) \(gate.base.positions) \(gate.base.pending) "
          + "\(gate.base.isComplete)"
      ]
        + gate.base.collections.filter { !$0.value.isEmpty }.sorted { $0.key < $1.key }.map {
          "\($0.key) \($0.value.version) \($0.value.count)"
        }
    } + book.thawed.sorted()
  }

  @Test func gatesComeBackAsTheyWere() throws {
    var world = World()
    world.set([resource("a"), resource("b", type: gateway)])
    let first = world.snapshot
    world.set([resource("a", body: [2]), resource("c")])
    let skipped = Snapshot(
      collections: world.collections, pending: [sidecar], isComplete: true, position: world.position,
      positions: [gateway: first.position])
    world.remove("prod/a")
    world.remove("prod/c")

    var book = GateBook()
    book.own["pinned"] = gate(.pinned, first)
    var held = gate(.held, skipped)
    held.passed = [virtualService: ["prod/x", "prod/y"]]
    held.releasedTypes = [gateway]
    book.held["held"] = held
    book.all = gate(.frozen, first)
    book.thawed = ["thawed", "and another"]

    let store = store()
    try store.save(first, sources: [], now: noon)
    // The held version was never saved: a slow disk skipped it.
    try store.save(world.snapshot, sources: world.sources, gates: book, now: noon)
    store.close()
    let again = self.store()
    let restored = try #require(try again.restore(now: noon))
    #expect(portrait(restored.gates) == portrait(book))
    #expect(restored.version == world.snapshot.version, "what is served last is what comes back")
    // Without a word on gates they stay; with an empty book they are gone.
    world.set([resource("d")])
    try again.save(world.snapshot, sources: [], now: noon)
    #expect(portrait(try #require(try again.restore(now: noon)).gates) == portrait(book))
    try again.save(world.snapshot, sources: [], gates: GateBook(), now: noon)
    #expect(try #require(try again.restore(now: noon)).gates.isEmpty)
    again.close()
  }

  @Test func whatAGateKeepsOutlivesTheLimitsOfHistory() throws {
    let store = store(versions: 3)
    var world = World()
    world.set([resource("old", body: Array("old-body".utf8)), resource("stays")])
    let old = world.snapshot
    try store.save(old, sources: [], now: noon)
    var book = GateBook()
    book.own["a"] = gate(.pinned, old)
    try store.save(old, sources: [], gates: book, now: noon)
    world.remove("prod/old")
    for round in 0..<10 {
      world.set([resource("r\(round)")])
      try store.save(
        world.snapshot, sources: [], now: Timestamp(seconds: noon.seconds + Int64(round) * 864_000))
    }
    #expect(try store.history(now: noon).map(\.version).last == old.version)
    store.close()
    let restored = try #require(try store.restore(now: noon))
    #expect(portrait(restored.gates) == portrait(book))
    try store.save(world.snapshot, sources: [], gates: GateBook(), now: noon)
    world.set([resource("last")])
    try store.save(world.snapshot, sources: [], now: Timestamp(seconds: noon.seconds + 864_000 * 11))
    #expect(throws: StoreError.noSuchVersion(old.version.description)) {
      try store.snapshot(version: old.version.description, now: noon)
    }
    store.close()
    #expect(!folder.holds("old-body"))
  }

  @Test func whatWasRevokedIsInNothingThatIsKept() throws {
    let store = store()
    var world = World()
    let secret = Array("secret-\(UUID().uuidString)".utf8)
    let other = Array("other-\(UUID().uuidString)".utf8)
    world.set([resource("secret", body: secret), resource("mine", body: other, source: "dir")])
    let old = world.snapshot
    var book = GateBook()
    book.own["a"] = gate(.pinned, old)
    try store.save(old, sources: [], gates: book, now: noon)
    // Another source's object takes its place, so nothing is removed from what is served.
    world.set([resource("secret", body: [1], source: "dir")])
    try store.save(world.snapshot, sources: [], now: noon)
    let revoked = Merge.Revocation(
      source: "central", type: virtualService, names: ["prod/secret"], namespaces: [])
    try store.save(world.snapshot, sources: [], revoked: [revoked], now: noon)
    #expect(!folder.holds(String(decoding: secret, as: UTF8.self)))
    let kept = try store.snapshot(version: old.version.description, now: noon)
    #expect(kept.collections[virtualService]?.names == ["prod/mine"] && kept.entry.isCut)
    let restored = try #require(try store.restore(now: noon))
    let pinned = try #require(restored.gates.own["a"])
    #expect(pinned.version == old.version && pinned.base.collections[virtualService]?.count == 1)
    // A whole namespace, of one source only.
    world.remove("prod/mine")
    let all = Merge.Revocation(source: "dir", type: virtualService, names: [], namespaces: ["prod"])
    try store.save(world.snapshot, sources: [], revoked: [all], now: noon)
    #expect(try store.snapshot(version: old.version.description, now: noon).collections.isEmpty)
    #expect(!folder.holds(String(decoding: other, as: UTF8.self)))
    store.close()
  }

  @Test func whatAGrantLostLeavesThePast() throws {
    let store = store()
    var world = World()
    func secret(_ word: String) -> [UInt8] { Array("\(word)-\(UUID().uuidString)".utf8) }
    // One was deleted long ago, one is had in another form, one is of a source that says nothing.
    let (lost, outdated, granted, silent) = (
      secret("lost"), secret("outdated"), secret("granted"), secret("silent")
    )
    world.set([
      resource("lost", body: lost), resource("changed", body: outdated, labels: [("tier", "old")]),
      resource("granted", body: granted), resource("silent", body: silent, source: "dir"),
    ])
    let old = world.snapshot
    var book = GateBook()
    book.own["a"] = gate(.pinned, old)
    try store.save(old, sources: [], gates: book, now: noon)
    for name in ["lost", "granted", "silent"] { world.remove("prod/" + name) }
    world.set([resource("changed", labels: [("tier", "edge")])])
    // Two versions of the past, of which the second has nothing to lose.
    try store.save(world.snapshot, sources: [], now: noon)
    let harmless = world.snapshot
    world.set([resource("more")])
    try store.save(world.snapshot, sources: [], now: noon)
    #expect([lost, outdated, granted, silent].allSatisfy(folder.holds))

    let words = """
      {"allow":[{"namespaces":["prod"],"labels":"tier=edge"}],"deny":[{"names":["lost"]}]}
      """
    // A grant that says nothing that is understood takes nothing.
    try store.save(world.snapshot, sources: [], rights: rights("?", world.snapshot), now: noon)
    #expect([lost, outdated, granted, silent].allSatisfy(folder.holds))
    try store.save(world.snapshot, sources: [], rights: rights(words, world.snapshot), now: noon)
    #expect(!folder.holds(lost) && !folder.holds(outdated), "nothing is in any file of the folder")
    #expect(folder.holds(granted) && folder.holds(silent), "the rest is kept")
    #expect(!folder.holds(Array("prod/lost".utf8)), "nor is it remembered when it was created")

    let history = try store.history(now: noon)
    #expect(history.filter(\.isCut).map(\.version) == [old.version])
    let kept = try store.snapshot(version: old.version.description, now: noon)
    #expect(kept.collections[virtualService]?.names == ["prod/granted", "prod/silent"])
    #expect(try store.snapshot(version: harmless.version.description, now: noon).entry.isCut == false)
    store.close()
    let restored = try #require(try store.restore(now: noon))
    #expect(restored.version == world.snapshot.version)
    #expect(
      restored.gates.own["a"]?.base.collections[virtualService]?.names == ["prod/granted", "prod/silent"])
    store.close()
  }

  @Test func aCrashBeforeTheLogIsTakenOverLeavesNothingAfterTheNextStart() throws {
    var store = store()
    var world = World()
    let secret = Array("secret-\(UUID().uuidString)".utf8)
    world.set([resource("secret", body: secret), resource("stays")])
    try store.save(world.snapshot, sources: [], now: noon)
    world.remove("prod/secret")
    try store.save(world.snapshot, sources: [], now: noon)
    let rights = rights(#"{"allow":[{}],"deny":[{"names":["secret"]}]}"#, world.snapshot)
    try store.write(world.snapshot, sources: [], GatesToSave(rights: rights), now: noon)
    // What a crash leaves: the main file still has it.
    let crashed = TemporaryFolder()
    for name in folder.names { crashed.write(folder.read(name), name) }
    store.close()
    #expect(crashed.holds(secret))
    store = SnapshotStore(folder: crashed.path)
    #expect(try store.restore(now: noon) != nil)
    store.settle()
    #expect(!crashed.holds(secret))
    store.close()
  }

  /// What a publisher judges by whose source says these words.
  private func rights(_ words: String, _ snapshot: Snapshot) -> KeptRights {
    var publisher = Publisher(rules: .denyAll, brake: .off, sources: ["central", "dir"])
    _ = publisher.note(grant: words, of: "central")
    _ = publisher.apply(Merge.Change(), snapshot: snapshot, now: noon)
    return publisher.rights
  }
}

extension TemporaryFolder {
  fileprivate func holds(_ bytes: [UInt8]) -> Bool { holds(String(decoding: bytes, as: UTF8.self)) }

  fileprivate func holds(_ text: String) -> Bool {
    let files = (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []
    return files.contains { name in
      guard let data = FileManager.default.contents(atPath: path + "/" + name) else { return false }
      return data.range(of: Data(text.utf8)) != nil
    }
  }
}
