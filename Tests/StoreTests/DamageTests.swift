// Goal: what is not what was written is never served, and never stops the relay: it is set aside under another
// name, and an empty store begins. Method: bytes of a good file are flipped at many places; formats of other
// releases and other programs are put in its place.

import Primitives
import Snapshots
import Testing

@testable import Store

struct DamageTests {
  private func filled(_ seed: UInt64) throws -> (file: [UInt8], portrait: [String]) {
    let folder = TemporaryFolder()
    var generator = SeededGenerator(seed: seed)
    var world = World()
    let store = SnapshotStore(folder: folder.path)
    for _ in 0..<12 {
      world.step(&generator, names: 25)
      try store.save(world.snapshot, sources: world.sources, now: noon)
    }
    store.close()
    return (folder.read("snapshot.db"), portrait(world.snapshot))
  }

  @Test(arguments: UInt64(1)...4)
  func aFlippedByteIsNeverServed(seed: UInt64) throws {
    let (file, whole) = try filled(seed)
    var generator = SeededGenerator(seed: seed)
    var asides = 0
    for _ in 0..<80 {
      // Half of them in the first page, which holds the header and the tables.
      let range = Bool.random(using: &generator) ? 0..<4096 : 0..<file.count
      let place = Int.random(in: range, using: &generator)
      var flipped = file
      flipped[place] ^= UInt8.random(in: 1...255, using: &generator)
      let folder = TemporaryFolder()
      folder.write(flipped, "snapshot.db")
      let store = SnapshotStore(folder: folder.path)
      switch Result(catching: { () throws(StoreError) in try store.restore(now: noon) }) {
      case .success(let restored):
        // A byte that means nothing, or only something about the past, may be wrong.
        #expect(portrait(restored) == whole, "seed \(seed) place \(place)")
        readThePast(of: store)
      case .failure(.setAside(let finding)):
        asides += 1
        #expect(folder.names.contains { finding.movedTo.hasSuffix($0) }, "seed \(seed) place \(place)")
        #expect(try store.restore(now: noon) == nil, "seed \(seed) place \(place)")
      case .failure(let error):
        Issue.record("\(error) (seed \(seed) place \(place))")
      }
      let next = World()
      try store.save(next.snapshot, sources: [], now: noon)
      #expect(
        portrait(try store.restore(now: noon)) == portrait(next.snapshot), "seed \(seed) place \(place)")
      store.close()
    }
    print("seed \(seed): \(asides) of 80 flips set aside")
    #expect(asides > 10)
  }

  /// Every kept version may be damaged; none may be wrong or trap.
  private func readThePast(of store: SnapshotStore) {
    for version in (try? store.history(now: noon)) ?? [] {
      let content = try? store.snapshot(version: version.version.description, now: noon)
      let snapshot = content.map {
        Snapshot(collections: $0.collections, pending: [], isComplete: true, position: $0.entry.position)
      }
      #expect(snapshot == nil || version.isCut || snapshot?.version == version.version)
    }
  }

  @Test(arguments: [0, 1, 100, 4095, 4096, 9000])
  func aCutFileIsNeverServed(length: Int) throws {
    let (file, _) = try filled(3)
    let folder = TemporaryFolder()
    folder.write(Array(file[..<length]), "snapshot.db")
    let store = SnapshotStore(folder: folder.path)
    defer { store.close() }
    if length == 0 {
      #expect(try store.restore(now: noon) == nil)
    } else {
      #expect(throws: StoreError.self) { try store.restore(now: noon) }
      #expect(try store.restore(now: noon) == nil)
    }
  }

  @Test func aNewerFormatIsKeptForItsRelease() throws {
    let folder = TemporaryFolder()
    var (file, _) = try filled(1)
    // The user version: four bytes, big-endian, at offset 60 of an SQLite file.
    file[63] = 9
    folder.write(file, "snapshot.db")
    let store = SnapshotStore(folder: folder.path)
    defer { store.close() }
    let aside = folder.path + "/snapshot.db.aside-20261123T120000Z"
    let finding = SetAside(reason: .newerFormat(9), path: folder.path + "/snapshot.db", movedTo: aside)
    #expect(throws: StoreError.setAside(finding)) { try store.restore(now: noon) }
    #expect(folder.read("snapshot.db.aside-20261123T120000Z") == file)
    #expect(try store.restore(now: noon) == nil)
  }

  @Test func damageFoundWhileSavingLosesNothing() throws {
    let folder = TemporaryFolder()
    var (file, _) = try filled(2)
    for place in stride(from: 4096, to: file.count, by: 512) { file[place] ^= 0x55 }
    folder.write(file, "snapshot.db")
    let store = SnapshotStore(folder: folder.path)
    var world = World()
    world.set([resource("a")])
    let finding = try store.save(world.snapshot, sources: world.sources, now: noon)
    #expect(finding != nil)
    #expect(portrait(try store.restore(now: noon)) == portrait(world.snapshot))
    store.close()
  }

  @Test func anotherProgramsFileIsNotTouched() throws {
    let folder = TemporaryFolder()
    let text = Array("This is no database, and somebody may want it back.".utf8)
    folder.write(text, "snapshot.db")
    let store = SnapshotStore(folder: folder.path)
    #expect(throws: StoreError.self) { try store.restore(now: noon) }
    let aside = folder.names.filter { $0.contains("aside") }
    #expect(aside.count == 1 && aside.allSatisfy { folder.read($0) == text })
    store.close()
  }

  @Test func onlyTheNewestAreKeptAside() throws {
    let folder = TemporaryFolder()
    for round in Int64(0)..<6 {
      folder.write([1, 2, 3], "snapshot.db")
      let store = SnapshotStore(folder: folder.path)
      // Twice in one second, so names would collide.
      #expect(throws: StoreError.self) {
        try store.restore(now: Timestamp(seconds: noon.seconds + round / 2))
      }
    }
    let asides = folder.names.filter { $0.contains("aside") }
    #expect(asides.count == StoreFolder.setAsideMost)
    #expect(asides.last?.hasSuffix("20261123T120002Z-2") == true)
  }
}
