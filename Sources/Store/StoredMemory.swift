// What gates remember, on disk: one row a thing, each with a seal of its own, so that a change writes what it changes.
// The tables are younger than the format: a file without them remembers nothing, and a release that does not know them
// passes over them.
//
// No bodies are here. What the right to know ended for leaves with the rest, because the publisher forgets it.

internal import Foundation
internal import GRDB
internal import Gates
internal import Primitives
internal import Snapshots

enum StoredMemory {
  static let tables = """
    CREATE TABLE IF NOT EXISTS gate_removal(
      number INTEGER PRIMARY KEY, at INTEGER NOT NULL, object TEXT NOT NULL, seal BLOB NOT NULL);
    CREATE TABLE IF NOT EXISTS gate_mark(
      cluster TEXT PRIMARY KEY, number INTEGER NOT NULL, seal BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS gate_released(
      cluster TEXT NOT NULL, type TEXT NOT NULL, name TEXT NOT NULL, seal BLOB NOT NULL,
      PRIMARY KEY(cluster, type, name)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS gate_last_form(
      type TEXT NOT NULL, name TEXT NOT NULL, object TEXT NOT NULL, seal BLOB NOT NULL,
      PRIMARY KEY(type, name)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS gate_grant(
      source TEXT PRIMARY KEY, words TEXT NOT NULL, seal BLOB NOT NULL) WITHOUT ROWID;
    """

  fileprivate static func seal(_ table: String, _ texts: [String], _ numbers: [Int64] = []) -> Data {
    var content = SealedContent()
    content.append(table)
    for text in texts { content.append(text) }
    for number in numbers { content.append(number) }
    return content.seal
  }

  /// An object's facts as text: type, name, source, then keys and values of its labels.
  fileprivate static func text(_ object: ObjectFacts) -> String {
    var writer = JSONWriter()
    writer.array { writer in
      for part in [object.type.description, object.wireName, object.source] { writer.string(part) }
      for label in object.labels {
        writer.string(label.key)
        writer.string(label.value)
      }
    }
    return writer.text
  }

  fileprivate static func object(_ text: String) throws -> ObjectFacts {
    guard let parts = try? JSONDecoder().decode([String].self, from: Data(text.utf8)), parts.count >= 3,
      parts.count % 2 == 1, let type = TypeName(parsing: parts[0])
    else { throw Damage("an object that gates remember") }
    let labels = stride(from: 3, to: parts.count, by: 2).map {
      ObjectFacts.Label(key: parts[$0], value: parts[$0 + 1])
    }
    return ObjectFacts(type: type, wireName: parts[1], labels: labels, source: parts[2])
  }
}

/// One row of `gate_released`.
struct ReleasedName: Hashable {
  let cluster: String
  let type: TypeName
  let name: String
}

/// What a save has to write of it.
struct MemoryStep {
  private(set) var goneRemovals: [UInt64] = []
  private(set) var newRemovals: [(number: UInt64, removal: Removal)] = []
  private(set) var goneMarks: [String] = []
  private(set) var newMarks: [String: UInt64] = [:]
  private(set) var goneGrants: [String] = []
  private(set) var newGrants: [String: String] = [:]
  private(set) var goneNames: [ReleasedName] = []
  private(set) var newNames: [ReleasedName] = []
  private(set) var goneForms: [(type: TypeName, name: String)] = []
  private(set) var newForms: [ObjectFacts] = []

  /// `isContinued`: both are of one process, whose removals keep their numbers.
  init(from old: GateMemory, to new: GateMemory, isContinued: Bool) {
    compareRemovals(old, new, isContinued)
    for (cluster, number) in new.marks where old.marks[cluster] != number { newMarks[cluster] = number }
    goneMarks = old.marks.keys.filter { new.marks[$0] == nil }.sorted()
    newGrants = new.grants.filter { old.grants[$0.key] != $0.value }
    goneGrants = old.grants.keys.filter { new.grants[$0] == nil }.sorted()
    guard !isContinued || old.edition != new.edition else { return }
    newNames = MemoryStep.names(in: new.released, butNotIn: old.released)
    goneNames = MemoryStep.names(in: old.released, butNotIn: new.released)
    for (type, forms) in new.lastForms where old.lastForms[type] != forms {
      for (name, form) in forms where old.lastForms[type]?[name] != form { newForms.append(form) }
    }
    for (type, forms) in old.lastForms where new.lastForms[type] != forms {
      for name in forms.keys where new.lastForms[type]?[name] == nil { goneForms.append((type, name)) }
    }
  }

  /// What both share is passed over.
  private static func names(
    in some: [String: [TypeName: Set<String>]], butNotIn others: [String: [TypeName: Set<String>]]
  ) -> [ReleasedName] {
    var found: [ReleasedName] = []
    for (cluster, types) in some {
      for (type, names) in types where others[cluster]?[type] != names {
        for name in names.subtracting(others[cluster]?[type] ?? []) {
          found.append(ReleasedName(cluster: cluster, type: type, name: name))
        }
      }
    }
    return found
  }

  private mutating func compareRemovals(_ old: GateMemory, _ new: GateMemory, _ isContinued: Bool) {
    func wanted(_ memory: GateMemory, _ number: UInt64) -> Removal? {
      guard number >= memory.first, number < memory.next else { return nil }
      let removal = memory.removals[Int(number - memory.first)]
      return removal.isVoid ? nil : removal
    }
    for number in old.first..<old.next {
      guard let before = wanted(old, number) else { continue }
      let after = wanted(new, number)
      if after == nil || (!isContinued && after != before) { goneRemovals.append(number) }
    }
    for number in new.first..<new.next {
      guard let after = wanted(new, number) else { continue }
      let before = wanted(old, number)
      if before == nil || (!isContinued && after != before) { newRemovals.append((number, after)) }
    }
  }

  var isEmpty: Bool {
    goneRemovals.isEmpty && newRemovals.isEmpty && goneMarks.isEmpty && newMarks.isEmpty
      && goneGrants.isEmpty && newGrants.isEmpty && goneNames.isEmpty && newNames.isEmpty && goneForms.isEmpty
      && newForms.isEmpty
  }
}

// MARK: writing

extension StoreWriting {
  func keep(_ step: MemoryStep) throws {
    for number in step.goneRemovals {
      try run("DELETE FROM gate_removal WHERE number = ?", [Int64(bitPattern: number)])
    }
    for (number, removal) in step.newRemovals {
      let (key, at) = (Int64(bitPattern: number), removal.at.milliseconds)
      let object = StoredMemory.text(removal.object)
      try run(
        "INSERT OR REPLACE INTO gate_removal(number, at, object, seal) VALUES (?, ?, ?, ?)",
        [key, at, object, StoredMemory.seal("removal", [object], [key, at])])
    }
    for cluster in step.goneMarks { try run("DELETE FROM gate_mark WHERE cluster = ?", [cluster]) }
    for (cluster, mark) in step.newMarks.sorted(by: { $0.key < $1.key }) {
      let number = Int64(bitPattern: mark)
      try run(
        "INSERT OR REPLACE INTO gate_mark(cluster, number, seal) VALUES (?, ?, ?)",
        [cluster, number, StoredMemory.seal("mark", [cluster], [number])])
    }
    for source in step.goneGrants { try run("DELETE FROM gate_grant WHERE source = ?", [source]) }
    for (source, words) in step.newGrants.sorted(by: { $0.key < $1.key }) {
      try run(
        "INSERT OR REPLACE INTO gate_grant(source, words, seal) VALUES (?, ?, ?)",
        [source, words, StoredMemory.seal("grant", [source, words])])
    }
    for one in step.goneNames {
      try run(
        "DELETE FROM gate_released WHERE cluster = ? AND type = ? AND name = ?",
        [one.cluster, one.type.description, one.name])
    }
    for one in step.newNames {
      let parts = [one.cluster, one.type.description, one.name]
      try run(
        "INSERT OR REPLACE INTO gate_released(cluster, type, name, seal) VALUES (?, ?, ?, ?)",
        [parts[0], parts[1], parts[2], StoredMemory.seal("released", parts)])
    }
    for (type, name) in step.goneForms {
      try run("DELETE FROM gate_last_form WHERE type = ? AND name = ?", [type.description, name])
    }
    for form in step.newForms {
      let parts = [form.type.description, form.wireName, StoredMemory.text(form)]
      try run(
        "INSERT OR REPLACE INTO gate_last_form(type, name, object, seal) VALUES (?, ?, ?, ?)",
        [parts[0], parts[1], parts[2], StoredMemory.seal("last form", parts)])
    }
  }
}

// MARK: reading

extension StoreReading {
  func memory() throws -> GateMemory {
    // A file of a release without them, opened for reading alone, has no such tables.
    guard try database.tableExists("gate_last_form") else { return GateMemory() }
    var memory = GateMemory()
    for row in try Row.fetchAll(database, sql: "SELECT cluster, number, seal FROM gate_mark") {
      let cluster = try row.decode(String.self, atIndex: 0)
      let number = try row.decode(Int64.self, atIndex: 1)
      try prove(row, 2, StoredMemory.seal("mark", [cluster], [number]))
      memory.marks[cluster] = UInt64(bitPattern: number)
    }
    try readRemovals(&memory)
    for row in try Row.fetchAll(database, sql: "SELECT cluster, type, name, seal FROM gate_released") {
      let parts = try (0..<3).map { try row.decode(String.self, atIndex: $0) }
      try prove(row, 3, StoredMemory.seal("released", parts))
      guard let type = TypeName(parsing: parts[1]) else { throw Damage("a name that gates remember") }
      memory.released[parts[0], default: [:]][type, default: []].insert(parts[2])
    }
    for row in try Row.fetchAll(database, sql: "SELECT type, name, object, seal FROM gate_last_form") {
      let parts = try (0..<3).map { try row.decode(String.self, atIndex: $0) }
      try prove(row, 3, StoredMemory.seal("last form", parts))
      let form = try StoredMemory.object(parts[2])
      memory.lastForms[form.type, default: [:]][form.wireName] = form
    }
    guard try database.tableExists("gate_grant") else { return memory }
    for row in try Row.fetchAll(database, sql: "SELECT source, words, seal FROM gate_grant") {
      let parts = try (0..<2).map { try row.decode(String.self, atIndex: $0) }
      try prove(row, 2, StoredMemory.seal("grant", parts))
      memory.grants[parts[0]] = parts[1]
    }
    return memory
  }

  /// Numbers go on where they were; those of removals that do not count any more are not written, and void here.
  private func readRemovals(_ memory: inout GateMemory) throws {
    let rows = try Row.fetchAll(
      database, sql: "SELECT number, at, object, seal FROM gate_removal ORDER BY number")
    var found: [(number: UInt64, removal: Removal)] = []
    for row in rows {
      let (number, at) = (try row.decode(Int64.self, atIndex: 0), try row.decode(Int64.self, atIndex: 1))
      let object = try row.decode(String.self, atIndex: 2)
      try prove(row, 3, StoredMemory.seal("removal", [object], [number, at]))
      let removal = Removal(at: Timestamp(milliseconds: at), object: try StoredMemory.object(object))
      found.append((UInt64(bitPattern: number), removal))
    }
    let newest = memory.marks.values.max() ?? 0
    memory.first = found.first?.number ?? newest
    let next = max(found.last.map { $0.number &+ 1 } ?? 0, newest, memory.first)
    guard next - memory.first <= GateMemory.spanMost else { throw Damage("the numbers of removals") }
    var rest = found[...]
    for number in memory.first..<next {
      if let one = rest.first, one.number == number {
        memory.removals.append(one.removal)
        rest.removeFirst()
      } else if let last = memory.removals.last {
        memory.removals.append(Removal(at: last.at, object: last.object, isVoid: true))
      }
    }
  }

  private func prove(_ row: Row, _ index: Int, _ seal: Data) throws {
    guard try row.decode(Data.self, atIndex: index) == seal else { throw Damage("what gates remember") }
  }
}
