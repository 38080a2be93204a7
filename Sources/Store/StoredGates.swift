// Gates on disk: one row a gate, which names the kept version that it keeps. Such versions outlast the limits of
// history. Beside them stand, as lines, what a view that is merely kept has besides its content: where it stands,
// which types it waited for, and what the brake had counted.

internal import Foundation
internal import GRDB
internal import Gates
internal import Primitives
internal import Snapshots

enum StoredGates {
  /// Younger than the format: a file without it has no gates, and a release that does not know it passes over it.
  static let table = """
    CREATE TABLE IF NOT EXISTS gate(
      cluster TEXT NOT NULL, kind TEXT NOT NULL, number INTEGER, version BLOB, position TEXT, since INTEGER NOT NULL,
      reason TEXT NOT NULL, detail TEXT NOT NULL, PRIMARY KEY(cluster, kind)) WITHOUT ROWID;
    """

  /// In place of a kind, for clusters that were thawed while all are kept.
  fileprivate static let thawed = "thawed"
  /// In place of a cluster, for the gate of all: no cluster is named so.
  fileprivate static let everybody = ""

  /// One row.
  fileprivate struct Record {
    var cluster: String
    var kind: String
    var number: Int64?
    var version: Version?
    var position: String?
    /// Milliseconds since 1970.
    var since: Int64
    var reason: String
    var detail: String
  }

  /// Hash over all rows in order.
  fileprivate static func seal(_ records: [Record]) -> Data {
    var content = SealedContent()
    for record in records {
      content.append(record.cluster)
      content.append(record.kind)
      content.append(record.number ?? -1)
      content.append(record.version?.bytes ?? [])
      content.append(record.position ?? "")
      content.append(record.since)
      content.append(record.reason)
      content.append(record.detail)
    }
    return content.seal
  }
}

// MARK: writing

extension StoreWriting {
  /// Writes the gates in place of those before. `state` is what the file holds, and becomes what it holds then:
  /// a kept version that is missing is written before the newest one.
  func keep(_ book: GateBook, _ state: inout WrittenState, savedAt: Timestamp) throws {
    var records: [StoredGates.Record] = []
    for (cluster, gate) in book.gates {
      let number = try number(of: gate, &state, savedAt)
      records.append(StoredGates.Record(cluster ?? StoredGates.everybody, gate, number: number))
    }
    for cluster in book.thawed.sorted() {
      records.append(StoredGates.Record(thawed: cluster))
    }
    records.sort { ($0.cluster, $0.kind) < ($1.cluster, $1.kind) }
    try run("DELETE FROM gate", [])
    for record in records {
      try run(
        "INSERT INTO gate(cluster, kind, number, version, position, since, reason, detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
          record.cluster, record.kind, record.number, record.version.map { Data($0.bytes) }, record.position,
          record.since, record.reason, record.detail,
        ])
    }
    try write(seal: "gates", StoredGates.seal(records))
  }

  /// The kept version with a gate's content.
  private func number(of gate: Gate, _ state: inout WrittenState, _ savedAt: Timestamp) throws -> Int64 {
    for version in [gate.version, gate.base.version] {
      let found = try Int64.fetchOne(
        database, sql: "SELECT max(number) FROM snapshot WHERE version = ?", arguments: [Data(version.bytes)])
      if let found { return found }
    }
    // It was skipped when it was served, or fell out of history since.
    // What was taken out of it is no removal from what is served.
    let content = Snapshot(
      collections: gate.base.collections, pending: [], isComplete: gate.base.isComplete,
      position: gate.base.position)
    let step = SaveStep(from: state, to: content, sources: state.sources, savedAt: savedAt)
    try write(step)
    state = step.result
    guard let number = state.head?.number else { throw Damage("a version that was written is not there") }
    return number
  }
}

extension StoredGates.Record {
  fileprivate init(_ cluster: String, _ gate: Gate, number: Int64) {
    self.init(
      cluster: cluster, kind: gate.kind.rawValue, number: number, version: gate.version,
      position: gate.base.position.stored, since: gate.since.milliseconds, reason: gate.reason,
      detail: StoredGates.detail(of: gate))
  }

  fileprivate init(thawed cluster: String) {
    self.init(cluster: cluster, kind: StoredGates.thawed, since: 0, reason: "", detail: "")
  }
}

extension StoredGates {
  fileprivate static func detail(of gate: Gate) -> String {
    var lines: [[String]] = []
    for (type, position) in gate.base.positions.sorted(by: { $0.key < $1.key }) {
      lines.append(["at", type.description, position.stored])
    }
    for type in gate.base.pending.sorted() { lines.append(["pending", type.description]) }
    lines.append(["complete", gate.base.isComplete ? "yes" : "no"])
    for (type, names) in gate.passed.sorted(by: { $0.key < $1.key }) {
      for name in names.sorted() { lines.append(["passed", type.description, name]) }
    }
    for type in gate.releasedTypes.sorted() { lines.append(["released", type.description]) }
    return lines.map { $0.joined(separator: "\t") }.joined(separator: "\n")
  }
}

// MARK: reading

extension StoreReading {
  /// The gates that were in force. One whose version is gone keeps `head` instead: nothing new passes without an
  /// operator's word.
  func gates(_ types: [Int64: TypeName], head: Restored) throws -> GateBook {
    // A file of a release without gates, opened for reading alone, has no table of them.
    guard try database.tableExists("gate") else { return GateBook() }
    let records = try records()
    try check("gates", StoredGates.seal(records), isEmpty: records.isEmpty)
    var contents: [Int64: [TypeName: Collection]] = [:]
    var book = GateBook()
    for record in records {
      guard record.kind != StoredGates.thawed else {
        book.thawed.insert(record.cluster)
        continue
      }
      guard let kind = Gate.Kind(rawValue: record.kind), let number = record.number,
        let version = record.version, let position = record.position.flatMap({ Position(stored: $0) })
      else { throw Damage("a gate") }
      if contents[number] == nil { contents[number] = try content(number, types, beside: head.collections) }
      var gate = try Gate(
        kind, version, position, record, content: contents[number] ?? head.collections)
      if contents[number] == nil {
        gate.version = head.version
        gate.reason += "; the version it kept is not there any more: kept is what was served last"
      }
      switch (record.cluster, kind) {
      case (StoredGates.everybody, _): book.all = gate
      case (let cluster, .held): book.held[cluster] = gate
      case (let cluster, .pinned), (let cluster, .frozen), (let cluster, .rolledBack):
        book.own[cluster] = gate
      }
    }
    return book
  }

  private func records() throws -> [StoredGates.Record] {
    let rows = try Row.fetchAll(
      database,
      sql:
        "SELECT cluster, kind, number, version, position, since, reason, detail FROM gate ORDER BY cluster, kind"
    )
    return try rows.map { row in
      let digits = try row.decode(Data?.self, atIndex: 3)
      return StoredGates.Record(
        cluster: try row.decode(String.self, atIndex: 0), kind: try row.decode(String.self, atIndex: 1),
        number: try row.decode(Int64?.self, atIndex: 2),
        version: digits.flatMap { Version(parsing: Hex.encode([UInt8]($0))) },
        position: try row.decode(String?.self, atIndex: 4), since: try row.decode(Int64.self, atIndex: 5),
        reason: try row.decode(String.self, atIndex: 6), detail: try row.decode(String.self, atIndex: 7))
    }
  }

  private func content(
    _ number: Int64, _ types: [Int64: TypeName], beside head: [TypeName: Collection]
  ) throws -> [TypeName: Collection]? {
    guard let row = try SnapshotRow.fetchAll(database, "WHERE number = ?", [number]).first else { return nil }
    let content = try collections(at: number, types, beside: head)
    _ = try prove(row, content)
    return content
  }
}

extension Gate {
  fileprivate init(
    _ kind: Kind, _ version: Version, _ position: Position, _ record: StoredGates.Record,
    content: [TypeName: Collection]
  ) throws {
    var (positions, pending, isComplete) = ([TypeName: Position](), Set<TypeName>(), true)
    var (passed, released) = ([TypeName: Set<String>](), Set<TypeName>())
    for line in record.detail.split(separator: "\n") {
      let parts = line.split(separator: "\t").map(String.init)
      guard parts.count >= 2 else { throw Damage("a gate") }
      let type = TypeName(parsing: parts[1])
      switch (parts[0], type, parts.count) {
      case ("at", let type?, 3):
        guard let place = Position(stored: parts[2]) else { throw Damage("a gate") }
        positions[type] = place
      case ("pending", let type?, 2): pending.insert(type)
      case ("complete", nil, 2): isComplete = parts[1] == "yes"
      case ("passed", let type?, 3): passed[type, default: []].insert(parts[2])
      case ("released", let type?, 2): released.insert(type)
      // Written by a later release.
      default: break
      }
    }
    self.init(
      kind: kind,
      base: Snapshot(
        collections: content, pending: pending, isComplete: isComplete, position: position,
        positions: positions),
      version: version, since: Timestamp(milliseconds: record.since), reason: record.reason, passed: passed,
      releasedTypes: released)
  }
}
