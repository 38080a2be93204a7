// Reading, and proving that what is read is what was written: every element against its address, every
// collection through the version of the snapshot it belongs to, everything else against its seal.

internal import Foundation
internal import GRDB
internal import Primitives
internal import Snapshots

/// One kept version as its row says.
struct SnapshotRow {
  var number: Int64
  var version: Version
  /// As a control plane's identifier is written.
  var position: String
  var isComplete: Bool
  var resources: Int64
  /// Milliseconds since 1970.
  var saved: Int64
  var isCut: Bool

  var seal: Data {
    var content = SealedContent()
    content.append(number)
    content.append(version.bytes)
    content.append(position)
    content.append(isComplete ? 1 : 0)
    content.append(resources)
    content.append(saved)
    content.append(isCut ? 1 : 0)
    return content.seal
  }

  /// The rows that `condition` selects, newest first, each proven.
  static func fetchAll(
    _ database: Database, _ condition: String = "", _ arguments: StatementArguments = []
  ) throws -> [SnapshotRow] {
    let sql =
      "SELECT number, version, position, complete, resources, saved, cut, seal FROM snapshot "
      + condition + " ORDER BY number DESC"
    return try Row.fetchAll(database, sql: sql, arguments: arguments).map { row in
      let digits = try row.decode(Data.self, atIndex: 1)
      guard let version = Version(parsing: Hex.encode(digits)) else { throw Damage("a version") }
      let found = SnapshotRow(
        number: try row.decode(Int64.self, atIndex: 0), version: version,
        position: try row.decode(String.self, atIndex: 2), isComplete: try row.decode(Bool.self, atIndex: 3),
        resources: try row.decode(Int64.self, atIndex: 4), saved: try row.decode(Int64.self, atIndex: 5),
        isCut: try row.decode(Bool.self, atIndex: 6))
      guard try row.decode(Data.self, atIndex: 7) == found.seal else { throw Damage("a kept version") }
      return found
    }
  }

  func entry() throws -> StoredVersion {
    guard let place = Position(stored: position), let count = Int(exactly: resources) else {
      throw Damage("the position of a kept version")
    }
    return StoredVersion(
      version: version, position: place, savedAt: Timestamp(milliseconds: saved), resources: count,
      isCut: isCut)
  }
}

/// Reads within an access or transaction of its caller.
struct StoreReading {
  let database: Database

  init(_ database: Database) { self.database = database }

  /// The last good snapshot; nil in an empty store. `meanwhile` runs while what was read is being proven on other
  /// processors.
  func restored(meanwhile: () throws -> Void = {}) throws -> Restored? {
    let head = try SnapshotRow.fetchAll(database, "WHERE number = (SELECT max(number) FROM snapshot)").first
    let types = try typeNames()
    let ready = try readyTypes()
    try check("types", StoreReading.sealed(ready), isEmpty: ready.isEmpty)
    guard let head else {
      guard ready.isEmpty else { throw Damage("the kept versions") }
      try meanwhile()
      return nil
    }
    // An entry that begins or ends later would come or go with a publication that says nothing of it.
    let ahead = try Int.fetchOne(
      database,
      sql: "SELECT count(*) FROM entry WHERE since > ?1 OR (until > ?1 AND until < \(StoreDatabase.open))",
      arguments: [head.number])
    guard ahead == 0 else { throw Damage("an entry of a version that is not there yet") }
    var content = try read(head.number, types)
    try meanwhile()
    var found = try content.collections()
    guard ready.isSuperset(of: found.keys) else { throw Damage("the types") }
    for type in ready where found[type] == nil { found[type] = .empty }
    let entry = try prove(head, found)
    guard !entry.isCut else { throw Damage("the last kept version") }
    var restored = Restored(
      number: head.number, collections: found, position: entry.position, isComplete: head.isComplete,
      version: head.version, savedAt: entry.savedAt, sources: try sources(types),
      departed: try departed(types))
    restored.gates = try gates(types, head: restored)
    restored.memory = try memory()
    return restored
  }

  /// The kept versions, newest first. What was saved before every source had delivered is nothing to go back to: what
  /// it lacks would be gone.
  func history() throws -> [StoredVersion] {
    try SnapshotRow.fetchAll(database, "WHERE complete").map { try $0.entry() }
  }

  /// `head`: the last good snapshot, where it is at hand.
  func snapshot(_ prefix: String, beside head: [TypeName: Collection]?) throws -> StoredSnapshot {
    let found = try SnapshotRow.fetchAll(database, "WHERE complete")
      .filter { $0.version.description.hasPrefix(prefix) }
    guard let newest = found.first else { throw StoreError.noSuchVersion(prefix) }
    guard found.allSatisfy({ $0.version == newest.version }) else {
      throw StoreError.ambiguousVersion(prefix)
    }
    let content = try collections(at: newest.number, typeNames(), beside: head)
    return StoredSnapshot(entry: try prove(newest, content), collections: content)
  }

  func kept(_ role: KeptRole) throws -> [KeptFile]? {
    let rows = try Row.fetchAll(
      database, sql: "SELECT path, content FROM kept WHERE role = ? ORDER BY place",
      arguments: [role.rawValue])
    let files = try rows.map { row in
      KeptFile(
        path: try row.decode(String.self, atIndex: 0), content: [UInt8](try row.decode(Data.self, atIndex: 1))
      )
    }
    try check(role.rawValue, StoreReading.sealed(files), isEmpty: files.isEmpty)
    return files.isEmpty ? nil : files
  }

  func readyTypes() throws -> Set<TypeName> {
    let rows = try Row.fetchAll(database, sql: "SELECT grp, kind FROM type WHERE ready <> 0")
    return Set(try rows.map { try StoreReading.typeName($0, at: 0) })
  }

  // MARK: parts

  private static func typeName(_ row: Row, at index: Int) throws -> TypeName {
    TypeName(
      group: try row.decode(String.self, atIndex: index),
      kind: try row.decode(String.self, atIndex: index + 1))
  }

  private func typeNames() throws -> [Int64: TypeName] {
    let rows = try Row.fetchAll(database, sql: "SELECT id, grp, kind FROM type")
    var names: [Int64: TypeName] = [:]
    for row in rows {
      let known = names.updateValue(
        try StoreReading.typeName(row, at: 1), forKey: try row.decode(Int64.self, atIndex: 0))
      guard known == nil else { throw Damage("the types") }
    }
    return names
  }

  /// What a version holds, each element proven. What stands in the last good snapshot to this day is taken from `head`,
  /// so that it costs, in time and memory, what has changed since.
  func collections(
    at number: Int64, _ types: [Int64: TypeName], beside head: [TypeName: Collection]?
  ) throws -> [TypeName: Collection] {
    guard let head else {
      var whole = try read(number, types)
      return try whole.collections()
    }
    var entered: [TypeName: [String]] = [:]
    let rows = try Row.fetchCursor(
      database, sql: "SELECT type, name FROM entry WHERE since > ? AND until = ?",
      arguments: [number, StoreDatabase.open])
    while let row = try rows.next() {
      guard let type = types[try row.decode(Int64.self, atIndex: 0)] else { throw Damage("a type") }
      entered[type, default: []].append(try row.decode(String.self, atIndex: 1))
    }
    var past = try read(number, types, isPast: true)
    var content = try past.collections()
    for (type, collection) in head {
      let left = collection.applying(upserts: content[type]?.resources ?? [], removals: entered[type] ?? [])
      content[type] = left.isEmpty ? nil : left
    }
    return content
  }

  /// Reads what a version holds; it is proven meanwhile. `isPast`: only what ended since.
  private func read(
    _ number: Int64, _ types: [Int64: TypeName], isPast: Bool = false
  ) throws -> ElementProof {
    var proof = ElementProof(types)
    let rows = try Row.fetchCursor(
      database,
      sql: """
        SELECT entry.type, entry.name, element.address, element.source, element.bytes
        FROM entry JOIN element ON element.id = entry.element
        WHERE entry.since <= ?1 AND entry.until > ?1 AND (entry.until <> \(StoreDatabase.open) OR NOT ?2)
        ORDER BY entry.type, entry.name
        """, arguments: [number, isPast])
    while let row = try rows.next() { try proof.take(row) }
    return proof
  }

  /// Entries of the past whose objects `condition` selects, each proven. Reads all of the past, in pieces, and holds on
  /// to no more than a piece of it.
  func past(where condition: (Resource) -> Bool) throws -> [(type: TypeName, name: String, span: EndedSpan)] {
    let types = try typeNames()
    let rows = try Row.fetchCursor(
      database,
      sql: """
        SELECT entry.type, entry.name, element.address, element.source, element.bytes,
          entry.since, entry.until, element.id
        FROM entry JOIN element ON element.id = entry.element WHERE entry.until < \(StoreDatabase.open)
        """)
    var found: [(type: TypeName, name: String, span: EndedSpan)] = []
    var proof = ElementProof(types)
    var spans: [EndedSpan] = []
    while true {
      let row = try rows.next()
      if let row {
        try proof.take(row)
        spans.append(try EndedSpan(row, at: 5))
      }
      guard row == nil || spans.count == ElementProof.pieceMost else { continue }
      for (resource, span) in zip(try proof.resources(), spans) where condition(resource) {
        found.append((resource.type, resource.wireName, span))
      }
      proof = ElementProof(types)
      spans.removeAll(keepingCapacity: true)
      if row == nil { return found }
    }
  }

  /// What a row says against the content it stands for.
  func prove(_ row: SnapshotRow, _ content: [TypeName: Collection]) throws -> StoredVersion {
    let entry = try row.entry()
    let snapshot = Snapshot(
      collections: content, pending: [], isComplete: row.isComplete, position: entry.position)
    // Of a version that was cut less is left than its hash covers; its elements are proven one by one.
    guard entry.isCut || (snapshot.version == row.version && snapshot.count == entry.resources) else {
      throw Damage("the content of version \(row.version)")
    }
    return entry
  }

  private func sources(_ types: [Int64: TypeName]) throws -> [SourceMark] {
    let rows = try Row.fetchAll(database, sql: "SELECT name, complete, position FROM source ORDER BY name")
    let standings = try standings(types)
    let marks = try rows.map { row in
      let name = try row.decode(String.self, atIndex: 0)
      let text = try row.decode(String?.self, atIndex: 2)
      let position = text.flatMap { Position(stored: $0) }
      guard (text == nil) == (position == nil) else { throw Damage("the position of a source") }
      return SourceMark(
        name: name, isComplete: try row.decode(Bool.self, atIndex: 1), position: position,
        positions: standings[name] ?? [:])
    }
    try check("sources", StoreReading.sealed(marks), isEmpty: marks.isEmpty)
    try check("standings", StoreReading.sealed(standingsOf: marks), isEmpty: standings.isEmpty)
    return marks
  }

  /// By source. A file of a release that did not write them, opened for reading alone, has no table of them.
  private func standings(_ types: [Int64: TypeName]) throws -> [String: [TypeName: Position]] {
    guard try database.tableExists("standing") else { return [:] }
    var result: [String: [TypeName: Position]] = [:]
    for row in try Row.fetchAll(database, sql: "SELECT source, type, position FROM standing") {
      guard let type = types[try row.decode(Int64.self, atIndex: 1)],
        let position = Position(stored: try row.decode(String.self, atIndex: 2))
      else { throw Damage("where a type of a source stands") }
      result[try row.decode(String.self, atIndex: 0), default: [:]][type] = position
    }
    return result
  }

  private func departed(_ types: [Int64: TypeName]) throws -> [TypeName: [String: Timestamp]] {
    var result: [TypeName: [String: Timestamp]] = [:]
    let rows = try Row.fetchCursor(database, sql: "SELECT type, name, seconds, nanoseconds FROM departed")
    while let row = try rows.next() {
      guard let type = types[try row.decode(Int64.self, atIndex: 0)] else {
        throw Damage("a departed object")
      }
      result[type, default: [:]][try row.decode(String.self, atIndex: 1)] = Timestamp(
        seconds: try row.decode(Int64.self, atIndex: 2), nanoseconds: try row.decode(Int32.self, atIndex: 3))
    }
    return result
  }

  // MARK: seals

  /// Compares with the seal of this name; there need be none over nothing.
  func check(_ name: String, _ seal: Data, isEmpty: Bool) throws {
    let kept = try Data.fetchOne(database, sql: "SELECT value FROM seal WHERE name = ?", arguments: [name])
    guard kept == seal || (kept == nil && isEmpty) else { throw Damage("the seal of \(name)") }
  }

  static func sealed(_ types: Set<TypeName>) -> Data {
    var content = SealedContent()
    for type in types.sorted() { content.append(type) }
    return content.seal
  }

  static func sealed(_ sources: [SourceMark]) -> Data {
    var content = SealedContent()
    for source in sources {
      content.append(source.name)
      content.append(source.isComplete ? 1 : 0)
      content.append(source.position?.stored ?? "")
    }
    return content.seal
  }

  static func sealed(standingsOf sources: [SourceMark]) -> Data {
    var content = SealedContent()
    for source in sources {
      for (type, position) in source.positions.sorted(by: { $0.key < $1.key }) {
        content.append(source.name)
        content.append(type)
        content.append(position.stored)
      }
    }
    return content.seal
  }

  static func sealed(_ files: [KeptFile]) -> Data {
    var content = SealedContent()
    for file in files {
      content.append(file.path)
      content.append(file.content)
    }
    return content.seal
  }
}

extension Position {
  /// As it stands in the file: the text of an identifier.
  var stored: String { ControlPlane(node: "", position: self, removals: nil).json }

  init?(stored text: String) {
    guard let position = ControlPlane(json: text)?.position else { return nil }
    self = position
  }
}
