// Goal: every part of the store is covered by a proof: an edit that SQLite finds in order is found nevertheless.
// Method: single statements of another program, each of which changes what would be served.

import GRDB
import Primitives
import Snapshots
import Testing

@testable import Store

struct EditedStoreTests {
  private static let edits = [
    "DELETE FROM entry WHERE name = 'prod/a'",
    "UPDATE entry SET until = since + 1 WHERE name = 'prod/a'",
    "UPDATE entry SET since = 9 WHERE name = 'prod/a'",
    "INSERT INTO entry SELECT type, 'prod/new', until, 9, element FROM entry WHERE name = 'prod/a'",
    "UPDATE entry SET name = 'prod/z' WHERE name = 'prod/a'",
    "UPDATE entry SET element = (SELECT max(element) FROM entry) WHERE name = 'prod/a'",
    "UPDATE entry SET type = (SELECT id FROM type WHERE kind = 'Gateway') WHERE name = 'prod/a'",
    "UPDATE type SET kind = 'Sidecar' WHERE kind = 'VirtualService'",
    "UPDATE type SET ready = 0 WHERE kind = 'Gateway'",
    "UPDATE element SET source = 'dir'",
    "UPDATE element SET bytes = bytes || x'00'",
    "UPDATE snapshot SET position = replace(position, 'mesh', 'else')",
    "UPDATE snapshot SET version = randomblob(16)",
    "UPDATE snapshot SET complete = 0",
    "UPDATE snapshot SET saved = 0",
    "UPDATE snapshot SET number = 7",
    "DELETE FROM snapshot",
    "UPDATE source SET complete = 1",
    "UPDATE source SET name = 'other' WHERE name = 'dir'",
    "DELETE FROM source",
    "DELETE FROM seal WHERE name = 'types'",
    "DROP TABLE departed",
    "PRAGMA user_version = 0",
    "PRAGMA application_id = 0",
  ]

  @Test(arguments: edits)
  func anEditIsFound(sql: String) throws {
    let folder = TemporaryFolder()
    let store = SnapshotStore(folder: folder.path)
    var world = World()
    world.set([resource("a"), resource("b", body: [1])])
    try store.save(world.snapshot, sources: world.sources, now: noon)
    #expect(portrait(try store.restore(now: noon)) == portrait(world.snapshot))
    store.close()
    try edit(folder, sql)
    #expect(throws: StoreError.self) { try store.restore(now: noon) }
    #expect(folder.names.contains { $0.contains("aside") })
    #expect(try store.restore(now: noon) == nil)
    store.close()
  }

  /// An index that is not the table's: what it would find is something else. What was saved is proven without it and
  /// served; nothing is written or looked up by it.
  @Test func aWrongIndexIsFoundBeforeItIsUsed() throws {
    for use in 0..<3 {
      let folder = TemporaryFolder()
      let store = SnapshotStore(folder: folder.path)
      var world = World()
      world.set([resource("a"), resource("b", body: [1])])
      try store.save(world.snapshot, sources: world.sources, now: noon)
      let whole = portrait(world.snapshot)
      store.close()
      try edit(
        folder,
        """
        PRAGMA writable_schema = ON;
        UPDATE sqlite_master SET sql = 'CREATE INDEX entry_element ON entry(element) WHERE element < 0'
        WHERE name = 'entry_element'
        """)
      #expect(portrait(try store.restore(now: noon)) == whole)
      #expect(!folder.names.contains { $0.contains("aside") })
      world.set([resource("a", body: [2])])
      switch use {
      case 0: #expect(try store.save(world.snapshot, sources: world.sources, now: noon) != nil)
      case 1: #expect(throws: StoreError.self) { try store.history(now: noon) }
      default: #expect(throws: StoreError.self) { try store.keep([], as: .policy, now: noon) }
      }
      #expect(folder.names.contains { $0.contains("aside") })
      // What is served is saved anew.
      try store.save(world.snapshot, sources: world.sources, now: noon)
      #expect(portrait(try store.restore(now: noon)) == portrait(world.snapshot))
      store.close()
    }
  }

  @Test func editedPolicyIsNotUsed() throws {
    let folder = TemporaryFolder()
    let store = SnapshotStore(folder: folder.path)
    try store.keep([KeptFile(path: "policy.yaml", content: [1])], as: .policy, now: noon)
    store.close()
    try edit(folder, "UPDATE kept SET content = x'02'")
    #expect(throws: StoreError.self) { try store.kept(.policy, now: noon) }
    #expect(try store.kept(.policy, now: noon) == nil)
    store.close()
  }

  private func edit(_ folder: TemporaryFolder, _ sql: String) throws {
    var configuration = Configuration()
    configuration.foreignKeysEnabled = false
    let queue = try DatabaseQueue(path: folder.path + "/snapshot.db", configuration: configuration)
    try queue.inDatabase { try $0.execute(sql: sql) }
    try queue.close()
  }
}
