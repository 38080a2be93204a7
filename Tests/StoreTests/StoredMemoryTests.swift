// Goal: what gates remember comes back as it was, a save writes what changed of it and no more, and a row that is not
// what was written is noticed.
// Method: random memories one after the other, saved and read again by stores that are opened anew now and then; steps
// between memories counted; rows edited behind the store's back.

import Foundation
import GRDB
import Gates
import Primitives
import Snapshots
import Testing

@testable import Store

struct StoredMemoryTests {
  private let folder = TemporaryFolder()

  private static func object(_ number: Int) -> ObjectFacts {
    ObjectFacts(
      type: virtualService, wireName: "prod/r\(number)",
      labels: [.init(key: "a\tb", value: "\"\n☃"), .init(key: "", value: "")], source: "up \\ down")
  }

  private static func at(_ seconds: Int64) -> Timestamp { Timestamp(seconds: 1_790_000_000 + seconds) }

  private func portrait(_ memory: GateMemory) -> [String] {
    let removals = memory.removals.enumerated().filter { !$0.element.isVoid }
      .map { "\(memory.first + UInt64($0.offset)) \($0.element)" }
    // Marks at or before the first removal that counts say nothing.
    let void = memory.removals.prefix { $0.isVoid }.count
    let marks = memory.marks.filter { void < memory.removals.count && $0.value > memory.first + UInt64(void) }
      .map { "\($0.key) \($0.value)" }
    return removals + marks.sorted()
      + memory.released.flatMap { cluster, types in
        types.flatMap { type, names in names.map { "\(cluster) \(type) \($0)" } }
      }.sorted()
      + memory.lastForms.flatMap { $0.value.values.map { "\($0)" } }.sorted()
  }

  @Test(arguments: 0..<4 as Range<UInt64>) func itComesBackAsItWas(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    var world = World()
    world.set([resource("a")])
    var store = SnapshotStore(folder: folder.path)
    var memory = GateMemory()
    for step in 0..<60 {
      for _ in 0..<Int.random(in: 0..<4, using: &random) {
        memory.removals.append(
          Removal(at: Self.at(Int64(step)), object: Self.object(Int.random(in: 0..<9, using: &random))))
      }
      if let index = memory.removals.indices.randomElement(using: &random) {
        memory.removals[index].isVoid = true
      }
      if memory.removals.count > 8 {
        memory.removals.removeFirst(3)
        memory.first += 3
      }
      if Bool.random(using: &random) {
        memory.marks["c\(Int.random(in: 0..<3, using: &random))"] = memory.next
      }
      if Bool.random(using: &random) {
        memory.edition += 1
        let one = "r\(Int.random(in: 0..<5, using: &random))"
        let wasThere = memory.released["c"]?[gateway]?.remove(one) != nil
        if !wasThere { memory.released["c", default: [:]][gateway, default: []].insert(one) }
        let form = Self.object(Int.random(in: 0..<5, using: &random))
        let known = memory.lastForms[form.type]?.removeValue(forKey: form.wireName)
        if known == nil { memory.lastForms[form.type, default: [:]][form.wireName] = form }
      }
      if Int.random(in: 0..<3, using: &random) == 0 { world.set([resource("b\(step)")]) }
      try store.save(world.snapshot, sources: world.sources, memory: memory, now: noon)
      guard Int.random(in: 0..<6, using: &random) == 0 else { continue }
      store.close()
      store = SnapshotStore(folder: folder.path)
      let restored = try #require(try store.restore(now: noon))
      #expect(portrait(restored.memory) == portrait(memory), "seed \(seed), step \(step)")
      // The next process goes on from there.
      memory = restored.memory
    }
    store.close()
  }

  @Test func aSaveWritesWhatChanged() {
    var old = GateMemory()
    old.removals = (0..<1000).map { Removal(at: Self.at(0), object: Self.object($0)) }
    old.released = ["c": [gateway: ["r"]]]
    #expect(MemoryStep(from: old, to: old, isContinued: true).isEmpty)
    #expect(MemoryStep(from: old, to: old, isContinued: false).isEmpty)
    var new = old
    new.removals[500].isVoid = true
    new.removals.append(Removal(at: Self.at(1), object: Self.object(1000)))
    new.removals.removeFirst(2)
    new.first = 2
    new.marks["c"] = 7
    for isContinued in [true, false] {
      let step = MemoryStep(from: old, to: new, isContinued: isContinued)
      #expect(step.goneRemovals == [0, 1, 500] && step.newRemovals.map(\.number) == [1000])
      #expect(step.newMarks == ["c": 7] && step.goneNames.isEmpty && step.newNames.isEmpty)
    }
    // Another process that begins its own numbers: what stands under them is replaced.
    var other = GateMemory()
    other.removals = [Removal(at: Self.at(5), object: Self.object(5))]
    let step = MemoryStep(from: old, to: other, isContinued: false)
    #expect(step.goneRemovals.count == 1000 && step.newRemovals.map(\.number) == [0])
    #expect(step.goneNames.count == 1)
  }

  @Test(arguments: [
    "UPDATE gate_removal SET at = at + 1", "UPDATE gate_removal SET object = replace(object, 'r1', 'r2')",
    "UPDATE gate_removal SET number = number + 1", "UPDATE gate_mark SET number = number + 1",
    "UPDATE gate_released SET name = 'other'", "UPDATE gate_last_form SET name = 'other'",
    "UPDATE gate_last_form SET seal = x'00'",
  ])
  func anEditedRowIsNoticed(_ edit: String) throws {
    let store = SnapshotStore(folder: folder.path)
    var world = World()
    world.set([resource("a")])
    var memory = GateMemory()
    memory.removals = [Removal(at: Self.at(0), object: Self.object(1))]
    memory.marks = ["c": 1]
    memory.released = ["c": [gateway: ["r"]]]
    memory.lastForms = [virtualService: ["prod/r1": Self.object(1)]]
    try store.save(world.snapshot, sources: world.sources, memory: memory, now: noon)
    store.close()
    try DatabaseQueue(path: folder.path + "/snapshot.db").write { try $0.execute(sql: edit) }
    #expect(throws: StoreError.self) { try SnapshotStore(folder: folder.path).restore(now: noon) }
  }

  @Test func aFileWithoutItsTablesRemembersNothing() throws {
    let store = SnapshotStore(folder: folder.path)
    var world = World()
    world.set([resource("a")])
    try store.save(world.snapshot, sources: world.sources, now: noon)
    store.close()
    try DatabaseQueue(path: folder.path + "/snapshot.db").write { database in
      for table in ["gate_removal", "gate_mark", "gate_released", "gate_last_form"] {
        try database.execute(sql: "DROP TABLE \(table)")
      }
    }
    let again = SnapshotStore(folder: folder.path)
    #expect(portrait(try #require(try again.restore(now: noon)).memory).isEmpty)
    again.close()
  }
}
