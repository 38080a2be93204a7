// inotify behind one owner: which folders are watched, and what their events mean for manifests.
//
// The worker adds watches while it walks (before it lists a folder, so that nothing falls between); the
// loop reads events. Both go through one small table. Every failure is an answer, never a trap: without
// watches the directory is looked at from time to time. Source: inotify(7).

import CLinux
import Glibc
import Synchronization

/// A folder by its inode: two paths to one folder are one folder.
struct FolderID: Hashable, Sendable {
  let device: UInt64
  let inode: UInt64
}

/// A file by the folder that really holds it, whatever links lead there.
struct FileKey: Hashable, Sendable {
  let folder: FolderID
  let name: String
}

/// What the kernel says.
enum FolderEvent: Equatable {
  /// A file changes and its writer has not closed it yet.
  case writing(FileKey)
  /// A file was closed after writing, renamed, or removed.
  case settled(FileKey)
  /// Anything else that asks for a new look.
  case changed
  /// Events were lost.
  case overflow
}

@safe
final class FolderWatch: Sendable {
  /// Readable when events wait. Non-blocking.
  let descriptor: Int32
  private let table = Mutex<[Int32: Watched]>([:])

  private struct Watched {
    let folder: FolderID
    /// The folder is part of the directory: whatever happens in it counts.
    var isContent: Bool
    /// Else only these names count: parts of the path that leads to the directory.
    var names: Set<String>
  }

  /// What moves or replaces an entry. A folder may be watched for both reasons, so masks add up.
  private static let nameMask =
    UInt32(IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF)
    | UInt32(IN_MASK_ADD) | UInt32(bitPattern: Int32(IN_ONLYDIR))
  /// Also what is written: not asked for on the way to a directory, where others may write all the time.
  private static let contentMask = nameMask | UInt32(IN_MODIFY | IN_CLOSE_WRITE)

  /// Nil with the reason in `trouble` when the kernel gives no inotify instance.
  static func open() -> (watch: FolderWatch?, trouble: String?) {
    let descriptor = inotify_init1(Int32(O_NONBLOCK | O_CLOEXEC))
    if descriptor >= 0 { return (FolderWatch(descriptor), nil) }
    return (nil, "inotify cannot be used (\(SystemError.text(errno))), raise fs.inotify.max_user_instances")
  }

  private init(_ descriptor: Int32) { self.descriptor = descriptor }

  deinit { _ = Glibc.close(descriptor) }

  /// Watches everything in a folder. Returns the watch, or why it could not be had.
  func watchContent(of path: String, _ folder: FolderID) -> Result<Int32, WatchError> {
    add(path, Self.contentMask) { watched in
      var next = watched ?? Watched(folder: folder, isContent: true, names: [])
      next.isContent = true
      return next
    }
  }

  /// Watches for one name in a folder on the way to the directory.
  func watchName(_ name: String, in path: String) -> Result<Int32, WatchError> {
    add(path, Self.nameMask) { watched in
      var next = watched ?? Watched(folder: FolderID(device: 0, inode: 0), isContent: false, names: [])
      next.names.insert(name)
      return next
    }
  }

  /// Forgets folders that the last walk did not come by.
  func keepOnly(_ watches: Set<Int32>) {
    let gone = table.withLock { table in
      let gone = table.keys.filter { !watches.contains($0) }
      for watch in gone { table[watch] = nil }
      return gone
    }
    for watch in gone { _ = inotify_rm_watch(descriptor, watch) }
  }

  private func add(_ path: String, _ mask: UInt32, _ change: (Watched?) -> Watched)
    -> Result<Int32, WatchError>
  {
    // Not locked across the call, which may wait for a disk: the loop reads the table. An event that is
    // faster than the table is treated as a lost one.
    let watch = unsafe inotify_add_watch(descriptor, path, mask)
    guard watch >= 0 else { return .failure(WatchError(number: errno)) }
    table.withLock { $0[watch] = change($0[watch]) }
    return .success(watch)
  }

  /// Whether events of this folder's files are seen.
  func isWatched(_ folder: FolderID) -> Bool {
    table.withLock { table in table.values.contains { $0.folder == folder && $0.isContent } }
  }

  /// All events that wait.
  func drain() -> [FolderEvent] {
    var events: [FolderEvent] = []
    var buffer = [UInt8](repeating: 0, count: 64 * 1024)
    while true {
      let count = unsafe buffer.withUnsafeMutableBytes { unsafe read(descriptor, $0.baseAddress, $0.count) }
      guard count > 0 else { return events }
      for raw in RawFolderEvent.parse(buffer[..<count]) {
        if let event = event(raw) { events.append(event) }
      }
    }
  }

  private func event(_ raw: RawFolderEvent) -> FolderEvent? {
    if raw.has(IN_Q_OVERFLOW) { return .overflow }
    if raw.has(IN_IGNORED) {
      let forgotten = table.withLock { $0.removeValue(forKey: raw.watch) }
      return forgotten == nil ? nil : .changed
    }
    guard let watched = table.withLock({ $0[raw.watch] }) else { return .overflow }
    guard !raw.name.isEmpty else { return watched.isContent ? .changed : nil }
    guard watched.isContent else { return watched.names.contains(raw.name) ? .changed : nil }
    // What editors and version control keep for themselves; `..data` and the like are how volumes are swapped.
    if raw.name.hasSuffix("~") || (raw.name.hasPrefix(".") && !raw.name.hasPrefix("..")) { return nil }
    if raw.has(IN_ISDIR) { return .changed }
    let key = FileKey(folder: watched.folder, name: raw.name)
    if raw.has(IN_MODIFY) { return .writing(key) }
    return raw.has(IN_CREATE) || raw.has(IN_ATTRIB) ? .changed : .settled(key)
  }
}

/// Why a folder cannot be watched.
struct WatchError: Error {
  let number: Int32

  var text: String {
    number == ENOSPC
      ? "no inotify watch is left, raise fs.inotify.max_user_watches"
      : "inotify refuses a folder (\(SystemError.text(number)))"
  }
}

/// One record of the kernel: watch, mask, cookie, length (32 bits each, this machine's order), name with zeros.
private struct RawFolderEvent {
  let watch: Int32
  let mask: UInt32
  let name: String

  func has(_ bit: some BinaryInteger) -> Bool { mask & UInt32(truncatingIfNeeded: bit) != 0 }

  static func parse(_ bytes: ArraySlice<UInt8>) -> [RawFolderEvent] {
    var events: [RawFolderEvent] = []
    var rest = bytes
    while rest.count >= 16 {
      func word(_ index: Int) -> UInt32 {
        let start = rest.startIndex + index * 4
        return (0..<4).reduce(0) { word, offset in
          UInt32.isBigEndian
            ? word << 8 | UInt32(rest[start + offset])
            : word | UInt32(rest[start + offset]) << (8 * UInt32(offset))
        }
      }
      let length = Int(word(3))
      guard length <= rest.count - 16 else { break }
      let name = rest.dropFirst(16).prefix(length).prefix { $0 != 0 }
      events.append(
        RawFolderEvent(
          watch: Int32(bitPattern: word(0)), mask: word(1), name: String(decoding: name, as: UTF8.self)))
      rest = rest.dropFirst(16 + length)
    }
    return events
  }
}

extension UInt32 {
  fileprivate static var isBigEndian: Bool { UInt32(1).bigEndian == 1 }
}
