// Goal: a large store is restored whole, and how long that takes is told. Method: 100 MB in one snapshot; times
// are printed, never asserted.

import Primitives
import Snapshots
import Testing

@testable import Store

struct SizeTests {
  @Test func aHundredMegabytes() throws {
    let folder = TemporaryFolder()
    var world = World()
    world.set(
      (0..<25_000).map { index in
        resource("r\(index)", body: [UInt8](repeating: UInt8(truncatingIfNeeded: index), count: 4000))
      })
    let store = SnapshotStore(folder: folder.path)
    let clock = ContinuousClock()
    let saving = try clock.measure { try store.save(world.snapshot, sources: [], now: noon) }
    store.close()
    var restored: Restored?
    let restoring = try clock.measure { restored = try store.restore(now: noon) }
    world.set([resource("r7", body: [1])])
    let step = try clock.measure { try store.save(world.snapshot, sources: [], now: noon) }
    let megabytes = folder.read("snapshot.db").count / 1_000_000
    print(
      "25,000 objects, \(megabytes) MB: saved in \(saving), restored in \(restoring), one change in \(step)")
    #expect(restored?.collections[virtualService]?.count == 25_000)
    #expect(restored?.version != world.snapshot.version)
    #expect(try store.restore(now: noon)?.version == world.snapshot.version)
    store.close()
  }
}
