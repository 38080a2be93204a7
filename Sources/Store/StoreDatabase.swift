// The database: how it is opened, what its tables are, and what its errors mean.
//
//   entry ── one object over one span of versions: [since, until); until = `StoreDatabase.open` while it lasts
//   element ── the encoded object, once, under the hash of its content
//   snapshot ── one row a kept version; the newest is the last good snapshot
//
// A publication closes and opens the entries it changes, so it writes O(changes) and every kept version can be
// read back (docs/decisions/005-store.md). Must never write before the format was found to be ours.

internal import Foundation
internal import GRDB

enum StoreDatabase {
  /// Grows when an older release could not read the tables.
  static let format = 1
  /// Marks the file as ours: "mesh".
  private static let applicationID = 0x6D65_7368
  /// `until` of an entry that is in the last good snapshot.
  static let open = Int64.max

  /// Opens the file, which must exist, and makes the tables in an empty one. Throws `Damage`, `NewerFormat`
  /// or what SQLite says. Until `prove` has passed it, what is read may be incomplete or wrong, and nothing may be
  /// written.
  static func connect(_ folder: StoreFolder) throws -> DatabaseQueue {
    let queue = try DatabaseQueue(path: folder.file, configuration: configuration())
    do {
      try queue.inDatabase { database in
        if try isEmpty(database) {
          // SQLite takes less than a header for an empty file.
          guard folder.byteCount() == 0 else { throw Damage("cut short") }
          try create(database)
        } else {
          try examine(database)
        }
      }
      return queue
    } catch {
      try? queue.close()
      throw error
    }
  }

  /// Opens the file for reading on a file system that takes no writes. Only right while no log lies beside it.
  static func connectReading(_ path: String) throws -> DatabaseQueue {
    var reading = Configuration()
    reading.readonly = true
    let escaped = path.addingPercentEncoding(withAllowedCharacters: .urlPathAllowed) ?? path
    let queue = try DatabaseQueue(path: "file:\(escaped)?immutable=1", configuration: reading)
    try queue.inDatabase(examine)
    return queue
  }

  private static func configuration() -> Configuration {
    var configuration = Configuration()
    configuration.label = "store"
    configuration.prepareDatabase { database in
      // One process only; also spares the shared memory file. Must precede every access.
      try database.execute(sql: "PRAGMA locking_mode = EXCLUSIVE")
      // A commit that was reported outlives a loss of power.
      try database.execute(sql: "PRAGMA synchronous = FULL")
      // What is erased must not be found in free pages.
      try database.execute(sql: "PRAGMA secure_delete = ON")
      try database.execute(sql: "PRAGMA cell_size_check = ON")
      try database.execute(sql: "PRAGMA trusted_schema = OFF")
      try database.execute(sql: "PRAGMA temp_store = MEMORY")
      try database.execute(sql: "PRAGMA cache_size = -8192")
    }
    return configuration
  }

  private static func isEmpty(_ database: Database) throws -> Bool {
    try Int64.fetchOne(database, sql: "PRAGMA page_count") == 0
  }

  private static func create(_ database: Database) throws {
    try database.execute(sql: "PRAGMA journal_mode = WAL")
    try database.inTransaction(.immediate) {
      try database.execute(sql: "PRAGMA application_id = \(applicationID)")
      try database.execute(sql: "PRAGMA user_version = \(format)")
      try database.execute(sql: tables)
      return .commit
    }
  }

  private static func examine(_ database: Database) throws {
    let mark = try Int.fetchOne(database, sql: "PRAGMA application_id")
    let found = try Int.fetchOne(database, sql: "PRAGMA user_version") ?? 0
    // Setting the mode comes before the tables: a crash between leaves pages without tables.
    if mark == 0, found == 0, try Int.fetchOne(database, sql: "SELECT count(*) FROM sqlite_master") == 0 {
      return try create(database)
    }
    guard mark == applicationID else { throw Damage("not written by meshrelay") }
    if found > format { throw NewerFormat(number: found) }
    guard found == format else { throw Damage("unknown format \(found)") }
  }

  /// Throws `Damage` unless the structure of the whole file is sound. What is read can be believed then: its content
  /// is proven by hashes.
  static func prove(_ database: Database) throws { try demand("quick_check", of: database) }

  /// Throws `Damage` unless every index also agrees with its table. A wrong index would find wrong elements, which
  /// matters to writing and to going back; it takes twice as long.
  static func proveIndexes(_ database: Database) throws { try demand("integrity_check", of: database) }

  private static func demand(_ check: String, of database: Database) throws {
    let verdict = try String.fetchOne(database, sql: "PRAGMA \(check)(1)")
    guard verdict == "ok" else { throw Damage(verdict ?? "no answer to \(check)") }
  }

  /// Makes the tables that are younger than the format.
  static func complete(_ database: Database) throws {
    try database.execute(sql: standings)
    try database.execute(sql: StoredGates.table)
    try database.execute(sql: StoredMemory.tables)
  }

  /// Where the types of a source stand. Younger than the format: a file without it is read as one that does
  /// not say, and a release that does not know it passes over it.
  static let standings = """
    CREATE TABLE IF NOT EXISTS standing(
      source TEXT NOT NULL, type INTEGER NOT NULL REFERENCES type(id), position TEXT NOT NULL,
      PRIMARY KEY(source, type)) WITHOUT ROWID;
    """

  private static let tables = """
    CREATE TABLE type(
      id INTEGER PRIMARY KEY, grp TEXT NOT NULL, kind TEXT NOT NULL, ready INTEGER NOT NULL,
      UNIQUE(grp, kind));
    CREATE TABLE element(
      id INTEGER PRIMARY KEY, address BLOB NOT NULL UNIQUE, source TEXT NOT NULL, bytes BLOB NOT NULL);
    CREATE TABLE entry(
      type INTEGER NOT NULL REFERENCES type(id), name TEXT NOT NULL, until INTEGER NOT NULL,
      since INTEGER NOT NULL, element INTEGER NOT NULL REFERENCES element(id),
      PRIMARY KEY(type, name, until)) WITHOUT ROWID;
    CREATE INDEX entry_element ON entry(element);
    CREATE INDEX entry_past ON entry(until) WHERE until < \(open);
    CREATE TABLE snapshot(
      number INTEGER PRIMARY KEY, version BLOB NOT NULL, position TEXT NOT NULL, complete INTEGER NOT NULL,
      resources INTEGER NOT NULL, saved INTEGER NOT NULL, cut INTEGER NOT NULL, seal BLOB NOT NULL);
    CREATE TABLE source(
      name TEXT PRIMARY KEY, complete INTEGER NOT NULL, position TEXT) WITHOUT ROWID;
    \(standings)
    \(StoredGates.table)
    \(StoredMemory.tables)
    CREATE TABLE departed(
      id INTEGER PRIMARY KEY, type INTEGER NOT NULL REFERENCES type(id), name TEXT NOT NULL,
      seconds INTEGER NOT NULL, nanoseconds INTEGER NOT NULL, UNIQUE(type, name));
    CREATE TABLE kept(
      role TEXT NOT NULL, place INTEGER NOT NULL, path TEXT NOT NULL, content BLOB NOT NULL,
      PRIMARY KEY(role, place)) WITHOUT ROWID;
    CREATE TABLE seal(name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    """
}

extension StoreDatabase {
  /// What an error of SQLite or of reading means for the store in `folder`.
  enum Verdict {
    case error(StoreError)
    case unusable(SetAside.Reason)
  }

  static func verdict(on error: any Error, _ folder: StoreFolder) -> Verdict {
    if let error = error as? StoreError { return .error(error) }
    if let damage = error as? Damage { return .unusable(.damaged(damage.place)) }
    if let newer = error as? NewerFormat { return .unusable(.newerFormat(newer.number)) }
    guard let error = error as? DatabaseError else {
      // A value of another type than was written.
      return .unusable(.damaged("a value does not read back"))
    }
    let path = folder.file
    let reason = error.message ?? "\(error.resultCode)"
    switch error.resultCode {
    case .SQLITE_FULL: return .error(.full(path: path))
    case .SQLITE_BUSY, .SQLITE_LOCKED: return .error(.inUse(path: path))
    // SQLite also opens a file for reading alone when a number in its head is not one it knows.
    case .SQLITE_READONLY where folder.isWritable: return .unusable(.damaged(reason))
    case .SQLITE_READONLY: return .error(.readOnly(path: path))
    case .SQLITE_CORRUPT, .SQLITE_NOTADB, .SQLITE_ERROR, .SQLITE_CONSTRAINT, .SQLITE_MISMATCH,
      .SQLITE_FORMAT, .SQLITE_SCHEMA, .SQLITE_TOOBIG, .SQLITE_RANGE:
      return .unusable(.damaged(reason))
    default: return .error(.failed(path: path, reason: reason))
    }
  }
}
