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

  private func saveNewest() {
    let taken = newest.withLock { newest in
      defer { newest = nil }
      return newest
    }
    guard let save = taken else { return }
    do throws(StoreError) {
      outcomes.push(.saved(replaced: try store.save(save.snapshot, sources: save.sources, now: save.now)))
    } catch {
      outcomes.push(.failed(error))
    }
  }
}
