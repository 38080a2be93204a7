// Goal: a disk that is full, takes no writes or is somebody else's is an error value; what was saved stays and
// saving goes on when the disk is good again. Method: a small file system in memory, filled and remounted;
// skipped where the test may not mount.

import Glibc
import Primitives
import Snapshots
import Testing

@testable import Store

/// A file system of its own.
private final class SmallDisk {
  let folder = TemporaryFolder()
  let isMounted: Bool
  var path: String { folder.path + "/state" }

  init(bytes: Int) {
    unsafe mkdir(folder.path + "/state", 0o700)
    isMounted = unsafe mount("tmpfs", folder.path + "/state", "tmpfs", 0, "size=\(bytes),mode=0700") == 0
  }

  deinit {
    if isMounted { unsafe umount(path) }
  }

  func remount(readOnly: Bool) -> Bool {
    let flags = UInt(MS_REMOUNT) | (readOnly ? UInt(MS_RDONLY) : 0)
    return unsafe mount("tmpfs", path, "tmpfs", flags, nil) == 0
  }

  static let isPossible = SmallDisk(bytes: 65_536).isMounted
}

struct DiskTests {
  @Test(.enabled(if: SmallDisk.isPossible, "may not mount"))
  func aFullDiskKeepsThePreviousSnapshot() throws {
    let disk = SmallDisk(bytes: 1_000_000)
    let store = SnapshotStore(folder: disk.path)
    var world = World()
    world.set([resource("a")])
    try store.save(world.snapshot, sources: [], now: noon)
    let good = portrait(world.snapshot)
    for index in 0..<8 { world.set([resource("big-\(index)", body: [UInt8](repeating: 1, count: 200_000))]) }
    #expect(throws: StoreError.full(path: disk.path + "/snapshot.db")) {
      try store.save(world.snapshot, sources: [], now: noon)
    }
    #expect(portrait(try store.restore(now: noon)) == good)
    // A start on a full disk serves what is there.
    store.close()
    let filler = fillUp(disk.path)
    #expect(portrait(try SnapshotStore(folder: disk.path).restore(now: noon)) == good)
    unsafe unlink(filler)
    // Smaller again: saved without anybody telling what was missed.
    for index in 0..<8 { world.remove("prod/big-\(index)") }
    world.set([resource("b")])
    let next = SnapshotStore(folder: disk.path)
    try next.save(world.snapshot, sources: [], now: noon)
    #expect(portrait(try next.restore(now: noon)) == portrait(world.snapshot))
    next.close()
  }

  /// Takes every byte that is left.
  private func fillUp(_ path: String) -> String {
    let name = path + "/filler"
    if let file = unsafe fopen(name, "w") {
      let chunk = [UInt8](repeating: 0, count: 4096)
      while unsafe fwrite(chunk, 1, chunk.count, file) == chunk.count && fflush(file) == 0 {}
      unsafe fclose(file)
    }
    return name
  }

  @Test(.enabled(if: SmallDisk.isPossible, "may not mount"))
  func aDiskThatTakesNoWritesIsStillServed() throws {
    let disk = SmallDisk(bytes: 4_000_000)
    var world = World()
    world.set([resource("a")])
    do {
      let store = SnapshotStore(folder: disk.path)
      try store.save(world.snapshot, sources: [], now: noon)
      store.close()
    }
    let good = portrait(world.snapshot)
    #expect(disk.remount(readOnly: true))
    let store = SnapshotStore(folder: disk.path)
    #expect(portrait(try store.restore(now: noon)) == good)
    world.set([resource("b")])
    #expect(throws: StoreError.readOnly(path: disk.path + "/snapshot.db")) {
      try store.save(world.snapshot, sources: [], now: noon)
    }
    #expect(disk.remount(readOnly: false))
    try store.save(world.snapshot, sources: [], now: noon)
    #expect(portrait(try store.restore(now: noon)) == portrait(world.snapshot))
    store.close()
  }

  @Test func anotherRelayKeepsItsStore() throws {
    let folder = TemporaryFolder()
    let first = SnapshotStore(folder: folder.path)
    try first.save(World().snapshot, sources: [], now: noon)
    let second = SnapshotStore(folder: folder.path)
    #expect(throws: StoreError.inUse(path: folder.path + "/snapshot.db")) { try second.restore(now: noon) }
    first.close()
    #expect(try second.restore(now: noon) != nil)
    second.close()
  }

  @Test func aPathThatIsNoFolderIsExplained() {
    let folder = TemporaryFolder()
    folder.write([], "file")
    let store = SnapshotStore(folder: folder.path + "/file/state")
    do {
      _ = try store.restore(now: noon)
      Issue.record("opened a folder within a file")
    } catch {
      #expect(error == .unreachable(path: folder.path + "/file/state", number: ENOTDIR))
      #expect(error.description.contains("A part of the path is a file"))
    }
  }

  @Test func aLinkIsNotFollowed() throws {
    let folder = TemporaryFolder()
    folder.write([1], "precious")
    unsafe symlink(folder.path + "/precious", folder.path + "/snapshot.db")
    let store = SnapshotStore(folder: folder.path)
    #expect(throws: StoreError.unreachable(path: folder.path + "/snapshot.db", number: ELOOP)) {
      try store.save(World().snapshot, sources: [], now: noon)
    }
    #expect(folder.read("precious") == [1])
  }
}
