// The folder and the file of the store as the system sees them: who may read them, and how a file that must
// not be used gets out of the way. The only place of this room that calls the system.

internal import Glibc
internal import Primitives

/// Where the store lives.
struct StoreFolder {
  let path: String

  /// The one file; SQLite keeps its log beside it.
  var file: String { path + "/snapshot.db" }

  /// Stores set aside that are kept. Reason: each may be as large as the store, and one tells the story.
  static let setAsideMost = 3

  /// What SQLite writes beside a database, and the database itself.
  private static let suffixes = ["", "-wal", "-shm", "-journal"]

  /// Makes folder and file where they are missing, for our user alone. A folder that exists keeps its mode:
  /// it is the operator's; the file in it is closed to others in any case.
  func prepare() throws(StoreError) {
    if unsafe mkdir(path, 0o700) != 0 && errno != EEXIST {
      throw StoreFolder.error(path, errno)
    }
    // Made before SQLite makes it, which would let the umask decide who may read it. No symbolic link: the
    // name is well known.
    let descriptor = unsafe open(file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard descriptor >= 0 else { throw StoreFolder.error(file, errno) }
    defer { close(descriptor) }
    guard fchmod(descriptor, 0o600) == 0 else { throw StoreFolder.error(file, errno) }
    PlainFiles.flush(folder: path)
  }

  /// Bytes of the file; nil when it cannot be asked.
  func byteCount(_ suffix: String = "") -> Int64? {
    var status = stat()
    return unsafe stat(file + suffix, &status) == 0 ? Int64(status.st_size) : nil
  }

  /// Whether the system would let us write both the file and new files beside it.
  var isWritable: Bool { unsafe access(path, W_OK) == 0 && access(file, W_OK) == 0 }

  /// Renames the store and what belongs to it; `moment` becomes part of the name. Returns the new name.
  func setAside(at moment: Timestamp) throws(StoreError) -> String {
    let stamp = Timestamp(seconds: moment.seconds).rfc3339.filter { $0 != ":" && $0 != "-" }
    var name = file + ".aside-" + stamp
    var attempt = 1
    while unsafe access(name, F_OK) == 0 {
      attempt += 1
      name = file + ".aside-\(stamp)-\(attempt)"
    }
    // The log first: a log that is left behind would be taken for the log of the next store.
    for suffix in StoreFolder.suffixes.reversed() {
      let moved = unsafe rename(file + suffix, name + suffix)
      if moved != 0 && (errno != ENOENT || suffix.isEmpty) { throw StoreFolder.error(file, errno) }
    }
    PlainFiles.flush(folder: path)
    removeOldest()
    return name
  }

  private func removeOldest() {
    let prefix = "snapshot.db.aside-"
    let all = PlainFiles.names(in: path).filter { $0.hasPrefix(prefix) }
    // The stamp begins with the year and has a fixed width: order of names is order of time.
    let stores = all.filter { name in !StoreFolder.suffixes.dropFirst().contains { name.hasSuffix($0) } }
    for store in stores.sorted().dropLast(StoreFolder.setAsideMost) {
      for suffix in StoreFolder.suffixes { unsafe unlink(path + "/" + store + suffix) }
    }
  }

  private static func error(_ path: String, _ number: Int32) -> StoreError {
    switch number {
    case ENOSPC, EDQUOT: .full(path: path)
    case EROFS: .readOnly(path: path)
    default: .unreachable(path: path, number: number)
    }
  }
}

/// Names of errno.
enum SystemError {
  static func name(_ number: Int32) -> String { unsafe String(cString: strerror(number)) }
}
