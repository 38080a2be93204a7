// Goal: whatever moment a crash picks, the store holds the snapshot before or the one after, whole. Method:
// the files as they stand between writes are copied and cut: the log at every place of a commit, the main file
// in the middle of taking over the log. And a real process is killed while it saves.

import Foundation
import Glibc
import Primitives
import Snapshots
import Testing

@testable import Store

struct CrashTests {
  /// A store that was saved twice, with its files before and after the second commit.
  private struct TwoSaves {
    let folder = TemporaryFolder()
    var before: [String] = []
    var after: [String] = []
    var mainFile: [UInt8] = []
    var logBefore: [UInt8] = []
    var logAfter: [UInt8] = []

    init(seed: UInt64) throws {
      var generator = SeededGenerator(seed: seed)
      var world = World()
      let store = SnapshotStore(folder: folder.path)
      for _ in 0..<5 { world.step(&generator) }
      try store.save(world.snapshot, sources: world.sources, now: noon)
      for _ in 0..<3 { world.step(&generator) }
      try store.write(world.snapshot, sources: world.sources, now: noon)
      before = portrait(world.snapshot)
      mainFile = folder.read("snapshot.db")
      logBefore = folder.read("snapshot.db-wal")
      for _ in 0..<3 { world.step(&generator) }
      try store.write(world.snapshot, sources: world.sources, now: noon)
      after = portrait(world.snapshot)
      logAfter = folder.read("snapshot.db-wal")
      store.close()
    }
  }

  /// What a start finds in these files.
  private func found(_ mainFile: [UInt8], _ log: [UInt8]) throws -> [String] {
    let folder = TemporaryFolder()
    folder.write(mainFile, "snapshot.db")
    folder.write(log, "snapshot.db-wal")
    let store = SnapshotStore(folder: folder.path)
    defer { store.close() }
    return portrait(try store.restore(now: noon))
  }

  @Test(arguments: UInt64(1)...3)
  func aCutCommitIsNone(seed: UInt64) throws {
    let saves = try TwoSaves(seed: seed)
    #expect(saves.before != saves.after && saves.logAfter.count > saves.logBefore.count)
    var generator = SeededGenerator(seed: seed)
    for _ in 0..<60 {
      let cut = Int.random(in: saves.logBefore.count..<saves.logAfter.count, using: &generator)
      #expect(
        try found(saves.mainFile, Array(saves.logAfter[..<cut])) == saves.before, "seed \(seed) cut \(cut)")
      // A disk may have the length and not the content.
      let torn = saves.logAfter[..<cut] + [UInt8](repeating: 0, count: saves.logAfter.count - cut)
      #expect(try found(saves.mainFile, Array(torn)) == saves.before, "seed \(seed) torn at \(cut)")
    }
    #expect(try found(saves.mainFile, saves.logAfter) == saves.after)
    #expect(try found(saves.mainFile, saves.logBefore) == saves.before)
  }

  @Test(arguments: UInt64(1)...3)
  func aLogTakenOverByHalfIsTakenOverAgain(seed: UInt64) throws {
    let saves = try TwoSaves(seed: seed)
    // Closing took the log over; any mixture of old and new pages may be on disk when that is cut short.
    let taken = saves.folder.read("snapshot.db")
    var generator = SeededGenerator(seed: seed)
    for _ in 0..<30 {
      var mixed = saves.mainFile
      for page in 0..<taken.count / 4096 where Bool.random(using: &generator) {
        let range = page * 4096..<(page + 1) * 4096
        if mixed.count < range.upperBound {
          mixed += [UInt8](repeating: 0, count: range.upperBound - mixed.count)
        }
        mixed.replaceSubrange(range, with: taken[range])
      }
      #expect(try found(mixed, saves.logAfter) == saves.after, "seed \(seed)")
    }
  }

  @Test func aFirstStartThatWasCutShortBeginsAgain() throws {
    let folder = TemporaryFolder()
    folder.write([], "snapshot.db")
    let store = SnapshotStore(folder: folder.path)
    #expect(try store.restore(now: noon) == nil)
    store.close()
  }

  /// The child saves one snapshot after the other and is killed while it does.
  @Test func aKilledProcessLeavesAWholeSnapshot() async throws {
    let folder = TemporaryFolder()
    var highest: UInt64 = 0
    for round in UInt64(1)...6 {
      let path = folder.path
      await #expect(processExitsWith: .signal(SIGKILL)) { [path = path as String, round = round as UInt64] in
        var generator = SeededGenerator(seed: 9)
        var world = World()
        let store = SnapshotStore(folder: path)
        if let restored = try store.restore(now: noon) {
          world.collections = restored.collections
          world.sequence = restored.position.sequence
        }
        for save in UInt64(0)... {
          world.step(&generator)
          world.collections[sidecar] = Collection([resource("mark-\(world.sequence)", type: sidecar)])
          if save == 2 { killSoon(after: UInt32(300 * round)) }
          try store.save(world.snapshot, sources: world.sources, now: noon)
        }
      }
      let store = SnapshotStore(folder: folder.path)
      let restored = try #require(try store.restore(now: noon), "round \(round)")
      store.close()
      // The mark was saved together with the sequence, or neither was.
      let mark = restored.collections[sidecar]?.resources.first?.name
      #expect(mark == "mark-\(restored.position.sequence)", "round \(round)")
      #expect(restored.position.sequence > highest, "round \(round)")
      highest = restored.position.sequence
    }
    #expect(folder.names.allSatisfy { !$0.contains("aside") })
  }
}

/// Kills this process from another thread, while this one goes on writing.
private func killSoon(after microseconds: UInt32) {
  Thread.detachNewThread {
    usleep(microseconds)
    kill(getpid(), SIGKILL)
  }
}
