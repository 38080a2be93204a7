// The way of snapshots to disk and back: the newest published one is saved, the last saved one is served
// again after a restart until the sources have answered.
//
// Saving runs on the `store` worker and follows as fast as the disk allows; what was superseded meanwhile is
// skipped. A disk that fails never stops serving: it is told once and tried again with the next publication.

import Primitives
import Snapshots
import Store
import Synchronization

final class Persistence: Sendable {
  /// What the control loop hears.
  enum Outcome: Sendable {
    /// The answer to `restore`: what was saved last, or why there is nothing.
    case restored(Restored?, StoreError?)
    /// The newest snapshot is on disk; `replaced` is a damaged store that was set aside for it.
    case saved(replaced: SetAside?)
    case failed(StoreError)
  }

  private struct Save: Sendable {
    let snapshot: Snapshot
    let sources: [SourceMark]
    let now: Timestamp
  }

  private let store: SnapshotStore
  private let worker: any Worker
  private let newest = Mutex<Save?>(nil)
  /// Files to be kept that the worker has not taken yet.
  private let files = Mutex<[KeptRole: [KeptFile]]>([:])
  let outcomes: Mailbox<Outcome>

  init(folder: String, worker: any Worker, limits: Limits, wake: @escaping Waker) {
    store = SnapshotStore(folder: folder)
    self.worker = worker
    outcomes = Mailbox(capacity: limits.workerMailbox, wake: wake)
  }

  /// Reads what was saved last; answered through `outcomes`. False when the worker is too busy.
  func restore(now: Timestamp) -> Bool {
    worker.submit { [store, outcomes] in
      do throws(StoreError) {
        outcomes.push(.restored(try store.restore(now: now), nil))
      } catch {
        outcomes.push(.restored(nil, error))
      }
    }
  }

  /// Saves `snapshot` soon. Callable from any thread; the newest one wins.
  func save(_ snapshot: Snapshot, sources: [SourceMark], now: Timestamp) {
    let isFirst = newest.withLock { newest in
      defer { newest = Save(snapshot: snapshot, sources: sources, now: now) }
      return newest == nil
    }
    guard isFirst else { return }
    // A worker that takes no job leaves the snapshot waiting; the next publication asks again.
    if !worker.submit({ [self] in saveNewest() }) { newest.withLock { $0 = nil } }
  }

  /// Keeps files that are good, for a start that finds bad ones. Roles without files stay as they are.
  func keep(_ texts: [KeptRole: [KeptFile]], now: Timestamp) {
    let found = texts.filter { !$0.value.isEmpty }
    guard !found.isEmpty else { return }
    files.withLock { $0.merge(found) { _, newer in newer } }
    // What a busy worker does not take goes with the next ones, or with the next snapshot.
    _ = worker.submit { [self] in keepFiles(now) }
  }

  private func keepFiles(_ now: Timestamp) {
    let taken = files.withLock { files in
      defer { files = [:] }
      return files
    }
    for (role, texts) in taken.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
      do throws(StoreError) {
        if try store.kept(role, now: now) != texts { try store.keep(texts, as: role, now: now) }
      } catch {
        outcomes.push(.failed(error))
      }
    }
  }

  private func saveNewest() {
    let taken = newest.withLock { newest in
      defer { newest = nil }
      return newest
    }
    guard let save = taken else { return }
    keepFiles(save.now)
    do throws(StoreError) {
      outcomes.push(.saved(replaced: try store.save(save.snapshot, sources: save.sources, now: save.now)))
    } catch {
      outcomes.push(.failed(error))
    }
  }
}
