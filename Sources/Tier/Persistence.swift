// The way of snapshots to disk and back: the newest published one is saved, the last saved one is served
// again after a restart until the sources have answered.
//
// Saving runs on the `store` worker and follows as fast as the disk allows; what was superseded meanwhile is
// skipped. A disk that fails never stops serving: it is told once, and tried again with the next publication or after
// a while (`ControlLoop.saveAgain`).

import Gates
import Primitives
import Snapshots
import Store
import Synchronization

final class Persistence: Sendable {
  /// What the control loop hears.
  enum Outcome: Sendable {
    /// The answer to `restore`: what was saved last, or why there is nothing.
    case restored(Restored?, StoreError?)
    /// The same: there is something, and this source refused this host since.
    case withheld(refusedBy: String)
    /// The newest snapshot is on disk; `replaced` is a damaged store that was set aside for it.
    case saved(replaced: SetAside?, tickets: [UInt64])
    case failed(StoreError, tickets: [UInt64])
    /// The answer to `read`.
    case content(ticket: UInt64, Result<KeptContent, StoreError>)
  }

  private struct Save: Sendable {
    var snapshot: Snapshot
    var sources: [SourceMark]
    var now: Timestamp
    /// Nil: those on disk are still in force.
    var gates: GateBook?
    let memory: GateMemory
    /// Not yet taken out of what is on disk.
    var revoked: [Merge.Revocation] = []
    /// What of the past may be kept; nil: what is on disk was judged so already.
    var rights: KeptRights?
    /// Commands that are answered once this is written.
    var tickets: [UInt64] = []
  }

  /// What the publisher wants saved beside a snapshot.
  struct Extras: Sendable {
    var gates: GateBook?
    var revoked: [Merge.Revocation] = []
    var rights: KeptRights?
    var ticket: UInt64?
  }

  private let store: SnapshotStore
  private let worker: any Worker
  private let newest = Mutex<Save?>(nil)
  /// Files to be kept that the worker has not taken yet.
  private let files = Mutex<[KeptRole: [KeptFile]]>([:])
  /// What a save that failed, or was not taken, leaves to the next one.
  private let owed = Mutex(Extras())
  let outcomes: Mailbox<Outcome>
  /// What was saved is not restored after the source of it has refused this host.
  private let heedsRefusals: Bool

  /// Revocations owed to the disk one by one. Reason: a disk that fails for days must not fill the memory; more
  /// than these become one for each source and type, as large as the names that source had.
  private static let owedMost = 4096

  init(
    folder: String, history: HistoryLimits, heedsRefusals: Bool = false, worker: any Worker,
    limits: Limits, wake: @escaping Waker
  ) {
    store = SnapshotStore(folder: folder, history: history)
    self.heedsRefusals = heedsRefusals
    self.worker = worker
    outcomes = Mailbox(capacity: limits.workerMailbox, wake: wake)
  }

  /// Reads what was saved last; answered through `outcomes`. False when the worker is too busy.
  func restore(now: Timestamp) -> Bool {
    worker.submit { [store, outcomes, heedsRefusals] in
      do throws(StoreError) {
        let restored = try store.restore(now: now)
        if heedsRefusals, restored != nil, let refusal = try store.kept(.refusal, now: now)?.first {
          outcomes.push(.withheld(refusedBy: refusal.path))
        } else {
          outcomes.push(.restored(restored, nil))
        }
      } catch {
        outcomes.push(.restored(nil, error))
      }
      // A crash may have left what was erased in the main file, and its end in the log alone.
      store.settle()
    }
  }

  /// Keeps more or less of the past from the next save on.
  func follow(_ history: HistoryLimits) { store.follow(history) }

  /// Saves `snapshot` soon. Callable from any thread; the newest one wins. False when the worker is too busy:
  /// then the next publication saves it, and its commands are not answered.
  func save(
    _ snapshot: Snapshot, sources: [SourceMark], memory: GateMemory, _ extras: Extras, now: Timestamp
  ) -> Bool {
    let isFirst = newest.withLock { newest in
      let earlier = newest
      var next = Save(snapshot: snapshot, sources: sources, now: now, memory: memory)
      next.gates = extras.gates ?? earlier?.gates
      next.revoked = (earlier?.revoked ?? []) + extras.revoked
      next.rights = extras.rights ?? earlier?.rights
      next.tickets = (earlier?.tickets ?? []) + (extras.ticket.map { [$0] } ?? [])
      newest = next
      return earlier == nil
    }
    guard isFirst else { return true }
    if worker.submit({ [self] in saveNewest() }) { return true }
    let untaken = newest.withLock { newest in
      defer { newest = nil }
      return newest
    }
    if let untaken { owe(untaken) }
    return false
  }

  /// Gates that another relay left here are none of ours.
  func forgetGates() { owed.withLock { $0.gates = GateBook() } }

  private func owe(_ save: Save) {
    owed.withLock { owed in
      owed.gates = save.gates ?? owed.gates
      owed.rights = save.rights ?? owed.rights
      owed.revoked = Persistence.bounded(owed.revoked + save.revoked)
    }
  }

  /// More than are remembered one by one are put together.
  private static func bounded(_ revoked: [Merge.Revocation]) -> [Merge.Revocation] {
    guard revoked.count > owedMost else { return revoked }
    var merged: [String: Merge.Revocation] = [:]
    for one in revoked {
      let key = "\(one.source) \(one.type)"
      let names = (merged[key]?.names ?? []).union(one.names)
      merged[key] = Merge.Revocation(
        source: one.source, type: one.type, names: names,
        namespaces: (merged[key]?.namespaces ?? []).union(one.namespaces))
    }
    return merged.sorted { $0.key < $1.key }.map(\.value)
  }

  /// Keeps files that are good, for a start that finds bad ones. Roles without files stay as they are.
  func keep(_ texts: [KeptRole: [KeptFile]], now: Timestamp) {
    let found = texts.filter { !$0.value.isEmpty }
    guard !found.isEmpty else { return }
    files.withLock { $0.merge(found) { _, newer in newer } }
    // What a busy worker does not take goes with the next ones, or with the next snapshot.
    _ = worker.submit { [self] in keepFiles(now) }
  }

  /// Remembers over a restart that a source refuses this host, or that none does any more.
  func note(refusedBy source: String?, now: Timestamp) {
    guard heedsRefusals else { return }
    files.withLock { $0[.refusal] = source.map { [KeptFile(path: $0, content: [])] } ?? [] }
    _ = worker.submit { [self] in keepFiles(now) }
  }

  private func keepFiles(_ now: Timestamp) {
    let taken = files.withLock { files in
      defer { files = [:] }
      return files
    }
    for (role, texts) in taken.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
      do throws(StoreError) {
        if try store.kept(role, now: now) ?? [] != texts { try store.keep(texts, as: role, now: now) }
      } catch {
        outcomes.push(.failed(error, tickets: []))
      }
    }
  }

  private func saveNewest() {
    let taken = newest.withLock { newest in
      defer { newest = nil }
      return newest
    }
    guard var save = taken else { return }
    keepFiles(save.now)
    let debts = owed.withLock { owed in
      defer { owed = Extras() }
      return owed
    }
    save.gates = save.gates ?? debts.gates
    save.revoked = debts.revoked + save.revoked
    save.rights = save.rights ?? debts.rights
    do throws(StoreError) {
      let replaced = try store.save(
        save.snapshot, sources: save.sources, gates: save.gates, memory: save.memory, revoked: save.revoked,
        rights: save.rights, now: save.now)
      outcomes.push(.saved(replaced: replaced, tickets: save.tickets))
    } catch {
      owe(save)
      outcomes.push(.failed(error, tickets: save.tickets))
    }
  }

  // MARK: the past

  /// Reads a kept version; answered through `outcomes`. False when the worker is too busy.
  func read(_ prefix: String, ticket: UInt64, now: Timestamp) -> Bool {
    worker.submit { [self] in
      do throws(StoreError) {
        outcomes.push(.content(ticket: ticket, .success(try content(prefix, now: now))))
      } catch {
        outcomes.push(.content(ticket: ticket, .failure(error)))
      }
    }
  }

  /// A kept version. On the store's worker only.
  func content(_ prefix: String, now: Timestamp) throws(StoreError) -> KeptContent {
    let found = try store.snapshot(version: prefix, now: now)
    let owed = owed.withLock { $0.revoked }
    return KeptContent(version: found.entry.version, collections: found.collections).erasing(owed)
  }

  /// The kept versions, newest first. False when the worker is too busy.
  func history(
    now: Timestamp, _ answer: @escaping @Sendable (Result<[KeptVersion], StoreError>) -> Void
  ) -> Bool {
    worker.submit { [store] in
      do throws(StoreError) {
        answer(.success(try store.history(now: now).map(KeptVersion.init)))
      } catch {
        answer(.failure(error))
      }
    }
  }
}

extension KeptVersion {
  init(_ stored: StoredVersion) {
    self.init(
      version: stored.version, position: stored.position, savedAt: stored.savedAt,
      resources: stored.resources, isCut: stored.isCut)
  }
}
