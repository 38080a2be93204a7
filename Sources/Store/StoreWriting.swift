// Writing one save within one transaction: entries that end are closed, entries that begin are opened, what
// the past no longer needs is collected. Everything here runs inside the caller's transaction.

internal import Foundation
internal import GRDB
internal import Gates
internal import Primitives
internal import Snapshots

struct StoreWriting {
  /// Objects that are gone and whose creation time is remembered. Reason: about 100 bytes each.
  static let departedMost: Int64 = 65_536

  let database: Database

  init(_ database: Database) { self.database = database }

  /// `rights`: what of the past may be kept, where that has changed.
  func save(_ step: SaveStep, _ limits: HistoryLimits, _ rights: KeptRights?) throws {
    guard let head = step.result.head else { return }
    try write(step)
    for revocation in step.revoked { try erasePast(revocation) }
    if let rights, !rights.isUnlimited { try erasePast(beyond: rights) }
    try forgetDeparted()
    try trim(to: limits, head.number, now: step.savedAt)
  }

  /// Writes what differs and nothing else.
  func write(_ step: SaveStep) throws {
    guard let head = step.result.head else { return }
    for edits in step.types {
      let type = try typeID(edits.type)
      var addressing = ElementAddressing(edits.type)
      for name in edits.removals { try remove(name, type, head.number) }
      for resource in edits.upserts {
        try close(resource.wireName, type, head.number)
        try open(resource, type, head.number, &addressing)
      }
    }
    try noteReadiness(of: Set(step.result.collections.keys))
    try write(head, step)
    if let sources = step.sources { try write(sources) }
  }

  // MARK: entries

  private func open(
    _ resource: Resource, _ type: Int64, _ number: Int64, _ addressing: inout ElementAddressing
  ) throws {
    let encoded = resource.encoded
    let address = Data(addressing.address(of: encoded, source: resource.source).bytes)
    let find = try database.cachedStatement(sql: "SELECT id FROM element WHERE address = ?")
    var element = try Int64.fetchOne(find, arguments: [address])
    if element == nil {
      try run(
        "INSERT INTO element(address, source, bytes) VALUES (?, ?, ?)",
        [address, resource.source, Data(encoded)])
      element = database.lastInsertedRowID
    }
    try run(
      "INSERT INTO entry(type, name, until, since, element) VALUES (?, ?, ?, ?, ?)",
      [type, resource.wireName, StoreDatabase.open, number, element])
    try run("DELETE FROM departed WHERE type = ? AND name = ?", [type, resource.wireName])
  }

  /// Ends the entry of this name that is open, if there is one.
  private func close(_ name: String, _ type: Int64, _ number: Int64) throws {
    let find = try database.cachedStatement(
      sql: "SELECT since, element FROM entry WHERE type = ? AND name = ? AND until = ?")
    guard let row = try Row.fetchOne(find, arguments: [type, name, StoreDatabase.open]) else { return }
    let since = try row.decode(Int64.self, atIndex: 0)
    if since < number {
      try run(
        "UPDATE entry SET until = ? WHERE type = ? AND name = ? AND until = ?",
        [number, type, name, StoreDatabase.open])
    } else {
      // The version itself is being amended: it never was in an earlier one.
      try run(
        "DELETE FROM entry WHERE type = ? AND name = ? AND until = ?", [type, name, StoreDatabase.open])
      try collect([try row.decode(Int64.self, atIndex: 1)])
    }
  }

  private func remove(_ removal: SaveStep.Removal, _ type: Int64, _ number: Int64) throws {
    if removal.isErased { return try erase(removal.name, type) }
    try close(removal.name, type, number)
    try run(
      "INSERT OR REPLACE INTO departed(type, name, seconds, nanoseconds) VALUES (?, ?, ?, ?)",
      [type, removal.name, removal.createTime.seconds, Int64(removal.createTime.nanoseconds)])
  }

  /// Leaves nothing of an object in any version.
  private func erase(_ name: String, _ type: Int64) throws {
    let rows = try Row.fetchAll(
      database, sql: "SELECT since, until, element FROM entry WHERE type = ? AND name = ?",
      arguments: [type, name])
    try run("DELETE FROM entry WHERE type = ? AND name = ?", [type, name])
    try run("DELETE FROM departed WHERE type = ? AND name = ?", [type, name])
    for row in rows { try erased(EndedSpan(row)) }
  }

  /// Takes what a source may no longer let us have out of the past. What is served was changed before.
  private func erasePast(_ revocation: Merge.Revocation) throws {
    let type = try typeID(revocation.type)
    let past =
      """
      SELECT since, until, element, name FROM entry JOIN element ON element.id = entry.element
      WHERE type = ? AND element.source = ? AND until < \(StoreDatabase.open) AND
      """
    var rows: [Row] = []
    for name in revocation.names.sorted() {
      rows += try Row.fetchAll(database, sql: past + " name = ?", arguments: [type, revocation.source, name])
    }
    for namespace in revocation.namespaces.sorted() {
      // All names that begin with it and a slash: the next character is a zero.
      rows += try Row.fetchAll(
        database, sql: past + " name >= ? AND name < ?",
        arguments: [type, revocation.source, namespace + "/", namespace + "0"])
    }
    for row in rows {
      try erase(EndedSpan(row), type, try row.decode(String.self, atIndex: 3))
    }
  }

  /// Takes out of the past what may not be kept any more. Reads all of it, so this is for when that has changed.
  private func erasePast(beyond rights: KeptRights) throws {
    for past in try StoreReading(database).past(where: { !rights.admits($0) }) {
      try erase(past.span, try typeID(past.type), past.name)
    }
  }

  private func erase(_ span: EndedSpan, _ type: Int64, _ name: String) throws {
    try run(
      "DELETE FROM entry WHERE type = ? AND name = ? AND until = ?", [type, name, span.until])
    // It is remembered of objects that are gone altogether, and what this one was called is nobody's business either.
    try run("DELETE FROM departed WHERE type = ? AND name = ?", [type, name])
    try erased(span)
  }

  /// After an entry was deleted for want of a right to it: its element goes, its versions are marked.
  private func erased(_ span: EndedSpan) throws {
    try collect([span.element])
    let cut = try SnapshotRow.fetchAll(
      database, "WHERE number >= ? AND number < ? AND cut = 0", [span.since, span.until])
    for var version in cut {
      version.isCut = true
      try write(version)
    }
  }

  /// Deletes those elements that no entry needs any more.
  private func collect(_ elements: [Int64]) throws {
    for element in elements {
      try run(
        "DELETE FROM element WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM entry WHERE element = ?1)",
        [element])
    }
  }

  // MARK: what stands beside the entries

  private func typeID(_ type: TypeName) throws -> Int64 {
    try run(
      "INSERT INTO type(grp, kind, ready) VALUES (?, ?, 0) ON CONFLICT DO NOTHING", [type.group, type.kind])
    let find = try database.cachedStatement(sql: "SELECT id FROM type WHERE grp = ? AND kind = ?")
    guard let id = try Int64.fetchOne(find, arguments: [type.group, type.kind]) else {
      throw Damage("a type is not found where it was written")
    }
    return id
  }

  private func noteReadiness(of ready: Set<TypeName>) throws {
    let noted = try StoreReading(database).readyTypes()
    guard noted != ready else { return }
    for type in noted.symmetricDifference(ready).sorted() {
      try run("UPDATE type SET ready = ? WHERE id = ?", [ready.contains(type), try typeID(type)])
    }
    try write(seal: "types", StoreReading.sealed(ready))
  }

  private func write(_ head: WrittenState.Head, _ step: SaveStep) throws {
    let old = try SnapshotRow.fetchAll(database, "WHERE number = ?", [head.number]).first
    try write(
      SnapshotRow(
        number: head.number, version: head.version,
        position: head.position.stored,
        isComplete: head.isComplete, resources: Int64(step.resources),
        saved: step.savedAt.milliseconds, isCut: old?.isCut ?? false))
  }

  private func write(_ row: SnapshotRow) throws {
    try run(
      """
      INSERT OR REPLACE INTO snapshot(number, version, position, complete, resources, saved, cut, seal)
      VALUES (?, ?, ?, ?, ?, ?, ?, ?)
      """,
      [
        row.number, Data(row.version.bytes), row.position, row.isComplete, row.resources, row.saved,
        row.isCut,
        row.seal,
      ])
  }

  private func write(_ sources: [SourceMark]) throws {
    try run("DELETE FROM source", [])
    for source in sources {
      try run(
        "INSERT INTO source(name, complete, position) VALUES (?, ?, ?)",
        [source.name, source.isComplete, source.position?.stored])
    }
    try write(seal: "sources", StoreReading.sealed(sources))
    try write(standingsOf: sources)
  }

  private func write(standingsOf sources: [SourceMark]) throws {
    try run("DELETE FROM standing", [])
    for source in sources {
      for (type, position) in source.positions.sorted(by: { $0.key < $1.key }) {
        try run(
          "INSERT INTO standing(source, type, position) VALUES (?, ?, ?)",
          [source.name, try typeID(type), position.stored])
      }
    }
    try write(seal: "standings", StoreReading.sealed(standingsOf: sources))
  }

  func keep(_ files: [KeptFile], as role: KeptRole) throws {
    try run("DELETE FROM kept WHERE role = ?", [role.rawValue])
    for (place, file) in files.enumerated() {
      try run(
        "INSERT INTO kept(role, place, path, content) VALUES (?, ?, ?, ?)",
        [role.rawValue, place, file.path, Data(file.content)])
    }
    try write(seal: role.rawValue, StoreReading.sealed(files))
  }

  func write(seal name: String, _ value: Data) throws {
    try run("INSERT OR REPLACE INTO seal(name, value) VALUES (?, ?)", [name, value])
  }

  // MARK: the past

  private func forgetDeparted() throws {
    try run(
      "DELETE FROM departed WHERE id <= (SELECT max(id) FROM departed) - ?", [StoreWriting.departedMost])
  }

  private func trim(to limits: HistoryLimits, _ head: Int64, now: Timestamp) throws {
    let oldest = now.milliseconds &- limits.age.inNanoseconds / 1_000_000
    let numbers = try Int64.fetchAll(database, sql: "SELECT number FROM snapshot ORDER BY number DESC")
    if numbers.count > limits.versions { try drop(before: numbers[limits.versions - 1]) }
    let young = try Int64.fetchOne(
      database, sql: "SELECT min(number) FROM snapshot WHERE saved >= ?", arguments: [oldest])
    try drop(before: min(young ?? head, head))
    // Half of the past at a time, the older half first, until the file is small enough or nothing is left of it.
    while try usedBytes() > limits.bytes {
      let left = try Int64.fetchAll(
        database,
        sql: "SELECT number FROM snapshot WHERE number NOT IN (\(StoreWriting.gated)) ORDER BY number")
      guard left.count > 1 else { return }
      try drop(before: left[(left.count + 1) / 2])
    }
  }

  private func usedBytes() throws -> Int64 {
    let pages = try Int64.fetchOne(database, sql: "PRAGMA page_count") ?? 0
    let free = try Int64.fetchOne(database, sql: "PRAGMA freelist_count") ?? 0
    let size = try Int64.fetchOne(database, sql: "PRAGMA page_size") ?? 0
    return (pages - free) * size
  }

  /// Versions that a gate keeps.
  private static let gated = "SELECT number FROM gate WHERE number IS NOT NULL"

  private func drop(before number: Int64) throws {
    try run("DELETE FROM snapshot WHERE number < ? AND number NOT IN (\(StoreWriting.gated))", [number])
    // No version is left that the entry stands in.
    let ended =
      """
      until <= ? AND until < \(StoreDatabase.open) AND NOT EXISTS (
        SELECT 1 FROM snapshot WHERE snapshot.number >= entry.since AND snapshot.number < entry.until)
      """
    let elements = try Int64.fetchAll(
      database, sql: "SELECT element FROM entry WHERE " + ended, arguments: [number])
    guard !elements.isEmpty else { return }
    try run("DELETE FROM entry WHERE " + ended, [number])
    try collect(elements)
  }

  func run(_ sql: String, _ arguments: StatementArguments) throws {
    try database.cachedStatement(sql: sql).execute(arguments: arguments)
  }
}

/// Of one entry that is in the past: the versions in which it stands, and what of.
struct EndedSpan {
  let since: Int64
  let until: Int64
  let element: Int64

  /// A row of since, until and element, beginning at `index`.
  init(_ row: Row, at index: Int = 0) throws {
    since = try row.decode(Int64.self, atIndex: index)
    until = try row.decode(Int64.self, atIndex: index + 1)
    element = try row.decode(Int64.self, atIndex: index + 2)
  }
}
