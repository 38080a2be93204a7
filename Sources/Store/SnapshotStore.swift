// The store: what a relay must know again after a restart, on disk.
//
// One object, used from one serial worker; the lock only makes sharing it lawful. It follows the published
// snapshot: `save` finds out itself what differs from what it wrote last, so snapshots may be skipped and a
// write that failed needs no making up for. What does not prove to be what was written is set aside, and
// never served. Stands beside Identity and Origins; knows nothing of threads, policy or clients.

internal import GRDB
public import Gates
public import Primitives
public import Snapshots
internal import Synchronization

/// The last good snapshot, the versions before it, creation times, and the last good configuration and policy.
public final class SnapshotStore: Sendable {
  private struct State: Sendable {
    var database: DatabaseQueue?
    /// The open file was found sound throughout.
    var isProven = false
    /// What the file holds, when that is known.
    var written: WrittenState?
    var limits: HistoryLimits
    /// They are not those that the file was written under.
    var isTrimDue = false
    /// The content was read, or found missing or unusable, once: it may be replaced by less.
    var wasRead = false
  }

  private let folder: StoreFolder
  private let state: Mutex<State>

  /// A store in `folder`, which is made (for our user alone) when it is missing. Touches nothing yet.
  public init(folder: String, history: HistoryLimits = HistoryLimits()) {
    self.folder = StoreFolder(path: folder)
    state = Mutex(State(limits: history))
  }

  /// Keeps more or less of the past, from the next save on.
  public func follow(_ history: HistoryLimits) {
    state.withLock { state in
      guard state.limits != history else { return }
      (state.limits, state.isTrimDue) = (history, true)
    }
  }

  /// Whether anything was ever stored in `folder`.
  public static func exists(in folder: String) -> Bool { StoreFolder(path: folder).byteCount() != nil }

  /// What was saved last, proven; nil when nothing was. On `.setAside` there is nothing either, and later
  /// calls work on an empty store. `now` names a store that is set aside.
  public func restore(now: Timestamp) throws(StoreError) -> Restored? {
    try use(now, isSealed: true) { state, database in
      state.written = nil
      let restored = try SnapshotStore.restored(state, database)
      state.written = WrittenState(restored)
      state.wasRead = true
      return restored
    }
  }

  /// Reads the content and looks into the structure of the file at once, for a start is waited for. Its indexes, which
  /// play no part in that, are compared before the next use (`prove`).
  private static func restored(_ state: State, _ database: DatabaseQueue) throws -> Restored? {
    if state.isProven { return try database.read { try StoreReading($0).restored() } }
    var isSound = false
    let outcome = Result {
      try database.read { database in
        try StoreReading(database).restored {
          try StoreDatabase.prove(database)
          isSound = true
        }
      }
    }
    // Whatever the reading met: if the structure is broken, that is why.
    if !isSound { try database.read(StoreDatabase.prove) }
    return try outcome.get()
  }

  /// Makes `snapshot` the last good one, in one transaction that writes what changed since the last save.
  ///
  /// Bodies removed by policy are erased, from the past too, and with `rights` also what these do not admit; others stay
  /// as long as the past is kept. With `gates` these are in force from now on, and what they keep is kept; `memory` is
  /// what they must remember. An error leaves the previous snapshot and gates whole. Returns the damaged store that was replaced, if there was one.
  @discardableResult
  public func save(
    _ snapshot: Snapshot, sources: [SourceMark], gates: GateBook? = nil, memory: GateMemory? = nil,
    revoked: [Merge.Revocation] = [], rights: KeptRights? = nil, now: Timestamp
  ) throws(StoreError) -> SetAside? {
    let gated = GatesToSave(book: gates, memory: memory, rights: rights)
    do {
      try write(snapshot, sources: sources, gated, revoked: revoked, now: now)
      settle()
      return nil
    } catch .setAside(let finding) {
      try write(snapshot, sources: sources, gated, revoked: revoked, now: now)
      settle()
      return finding
    }
  }

  /// Keeps files that were found good, in place of those kept before.
  public func keep(_ files: [KeptFile], as role: KeptRole, now: Timestamp) throws(StoreError) {
    try use(now) { _, database in
      try database.write { try StoreWriting($0).keep(files, as: role) }
    }
    settle()
  }

  /// The files kept last; nil when none were.
  public func kept(_ role: KeptRole, now: Timestamp) throws(StoreError) -> [KeptFile]? {
    try use(now, isSealed: true) { _, database in try database.read { try StoreReading($0).kept(role) } }
  }

  /// The kept versions that were complete, newest first; the first is the last good snapshot.
  public func history(now: Timestamp) throws(StoreError) -> [StoredVersion] {
    try use(now) { _, database in try database.read { try StoreReading($0).history() } }
  }

  /// A kept version by its hash or the beginning of it, the newest of those with equal content.
  public func snapshot(version prefix: String, now: Timestamp) throws(StoreError) -> StoredSnapshot {
    try use(now) { state, database in
      let head = state.written?.collections
      return try database.read { try StoreReading($0).snapshot(prefix, beside: head) }
    }
  }

  /// Closes the file, so that it can be opened again. The next call opens it again by itself.
  public func close() {
    state.withLock { state in
      SnapshotStore.settle(state.database)
      try? state.database?.close()
      state.database = nil
      state.written = nil
    }
  }

  /// `save` without the tidying up: what is durable once this returns is what a crash leaves.
  func write(
    _ snapshot: Snapshot, sources: [SourceMark], _ gates: GatesToSave = GatesToSave(),
    revoked: [Merge.Revocation] = [], now: Timestamp
  ) throws(StoreError) {
    try use(now) { state, database in
      let before = try state.written ?? WrittenState(database.read { try StoreReading($0).restored() })
      // An earlier read failed, so what is served may lack types that the file still has.
      guard state.wasRead || snapshot.isComplete || before.isEmpty else {
        state.written = before
        throw StoreError.unread(path: self.folder.file)
      }
      state.written = nil
      do {
        state.written = try self.write(
          snapshot, from: before, sources: sources, gates, revoked: revoked, now: now, state, database)
        state.isTrimDue = false
      } catch {
        // Rolled back: the file is what it was.
        state.written = before
        throw error
      }
      state.wasRead = true
    }
  }

  /// What gates keep goes first: it was served before the snapshot.
  private func write(
    _ snapshot: Snapshot, from before: WrittenState, sources: [SourceMark], _ gates: GatesToSave,
    revoked: [Merge.Revocation], now: Timestamp, _ state: State, _ database: DatabaseQueue
  ) throws -> WrittenState {
    let plain = SaveStep(from: before, to: snapshot, sources: sources, revoked: revoked, savedAt: now)
    let memory = gates.memory.map {
      MemoryStep(from: before.memory, to: $0, isContinued: before.isMemoryOurs)
    }
    guard
      gates.book != nil || gates.rights != nil || !plain.isEmpty || memory?.isEmpty == false
        || state.isTrimDue
    else { return plain.result }
    return try database.write { database in
      let writing = StoreWriting(database)
      var reached = before
      if let book = gates.book { try writing.keep(book, &reached, savedAt: now) }
      let step = SaveStep(from: reached, to: snapshot, sources: sources, revoked: revoked, savedAt: now)
      if !step.isEmpty || state.isTrimDue || gates.rights != nil {
        try writing.save(step, state.limits, gates.rights)
      }
      var result = step.result
      if let memory { try writing.keep(memory) }
      if let written = gates.memory { (result.memory, result.isMemoryOurs) = (written, true) }
      return result
    }
  }

  /// Moves what was written into the main file, so that it is whole alone: it can then be read on a disk that
  /// takes no writes any more, and what was erased is in neither. Failing is harmless, the log has it all.
  public func settle() { state.withLock { SnapshotStore.settle($0.database) } }

  private static func settle(_ database: DatabaseQueue?) {
    _ = try? database?.inDatabase { try $0.checkpoint(.truncate) }
  }

  /// Opens the file if it is not, runs `body`, and deals with what goes wrong. `isSealed`: it only reads what is
  /// proven by hashes, whatever the indexes say.
  private func use<Result: Sendable>(
    _ now: Timestamp, isSealed: Bool = false, _ body: (inout State, DatabaseQueue) throws -> Result
  ) throws(StoreError) -> Result {
    let outcome = state.withLock { state -> Swift.Result<Result, StoreError> in
      do {
        if let open = state.database {
          try self.prove(&state, open, isSealed)
          return .success(try body(&state, open))
        }
        let database = try self.open()
        state.isProven = false
        // One that only reads is not kept: the disk may take writes again.
        if !database.configuration.readonly { state.database = database }
        defer {
          if database.configuration.readonly {
            state.written = nil
            try? database.close()
          }
        }
        try self.prove(&state, database, isSealed)
        return .success(try body(&state, database))
      } catch {
        return .failure(self.judge(error, &state, now))
      }
    }
    return try outcome.get()
  }

  /// Before a file is written, or anything but its last good snapshot is read.
  private func prove(_ state: inout State, _ database: DatabaseQueue, _ isSealed: Bool) throws {
    guard !state.isProven, !isSealed else { return }
    try database.read(StoreDatabase.proveIndexes)
    if !database.configuration.readonly { try database.inDatabase(StoreDatabase.complete) }
    state.isProven = true
  }

  private func open() throws -> DatabaseQueue {
    do {
      try folder.prepare()
      return try StoreDatabase.connect(folder)
    } catch StoreError.readOnly where folder.byteCount() ?? 0 > 0 && folder.byteCount("-wal") ?? 0 == 0 {
      return try StoreDatabase.connectReading(folder.file)
    }
  }

  private func judge(_ error: any Error, _ state: inout State, _ now: Timestamp) -> StoreError {
    switch StoreDatabase.verdict(on: error, folder) {
    case .error(let error): return error
    case .unusable(let reason):
      try? state.database?.close()
      state.database = nil
      state.written = nil
      state.wasRead = true
      do {
        let moved = try folder.setAside(at: now)
        return .setAside(SetAside(reason: reason, path: folder.file, movedTo: moved))
      } catch {
        return error
      }
    }
  }
}

/// What a save brings beside the snapshot; nil: what is on disk stays.
struct GatesToSave: Sendable {
  var book: GateBook?
  var memory: GateMemory?
  /// Nil: the past was judged by them already.
  var rights: KeptRights?
}
