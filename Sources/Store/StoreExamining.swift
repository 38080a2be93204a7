// Looking into a store whose relay is stopped, without touching it: no lock, no table, no mode is changed, and nothing
// is set aside. For commands of an operator, who may be another user.

internal import GRDB
internal import Glibc
internal import Primitives
public import Snapshots

extension SnapshotStore {
  /// What was saved last in `folder`, proven; nil when nothing was. Throws `.inUse` while a relay has it open.
  public static func examine(folder path: String) throws(StoreError) -> Restored? {
    let folder = StoreFolder(path: path)
    guard unsafe access(folder.file, R_OK) == 0 else {
      throw .unreachable(path: folder.file, number: errno)
    }
    guard !folder.isLocked else { throw .inUse(path: folder.file) }
    // The file alone is whole after every save (`settle`); a log that still lies there has something it lacks.
    guard folder.byteCount("-wal") ?? 0 == 0 else { throw .unsettled(path: folder.file) }
    guard folder.byteCount() ?? 0 > 0 else { return nil }
    do {
      let database = try StoreDatabase.connectReading(folder.file)
      defer { try? database.close() }
      return try database.read { database in
        try StoreDatabase.proveIndexes(database)
        return try StoreReading(database).restored()
      }
    } catch {
      switch StoreDatabase.verdict(on: error, folder) {
      case .error(let error): throw error
      case .unusable(.damaged(let place)): throw .failed(path: folder.file, reason: "damaged: \(place)")
      case .unusable(.newerFormat(let number)):
        throw .failed(path: folder.file, reason: "its format \(number) is newer than this release")
      }
    }
  }
}

extension StoreFolder {
  /// Whether another process has the file locked, as SQLite locks it while it is open.
  fileprivate var isLocked: Bool {
    let descriptor = unsafe open(file, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return false }
    defer { close(descriptor) }
    var lock = flock()
    lock.l_type = Int16(F_WRLCK)
    lock.l_whence = Int16(SEEK_SET)
    let asked = unsafe fcntl(descriptor, F_GETLK, &lock) == 0
    return asked && lock.l_type != Int16(F_UNLCK)
  }
}

extension Restored {
  /// Where types stand. Of several sources that answered for one, the one that is furthest behind: which of them
  /// is preferred is not known here, and to understate is safe (docs/decisions/006-positions-per-type.md).
  public var positions: [TypeName: Position] {
    guard position.path.count > 1, let me = position.path.last else { return [:] }
    var found: [TypeName: Position] = [:]
    for (type, place) in sources.flatMap(\.positions) {
      if let known = found[type], known.sequence <= place.sequence { continue }
      found[type] = place
    }
    return found.mapValues { $0.passed(by: me) }
  }
}
