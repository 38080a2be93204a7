// The way of fetched bundles to disk and back, on a worker: one job at a time, the newest bundle of each trust domain.
//
// What cannot be written is told and not tried again before the next document, which comes within the hour. Without
// a state folder nothing is kept, and every question is answered at once.

import Identity
import Primitives
import SPIFFE

final class BundleKeeper {
  enum Outcome: Sendable {
    /// What was kept for the endpoints in use, and what is wrong with the rest.
    case restored([KeptBundle], [ShelfTrouble])
    case kept(KeptBundle, ShelfTrouble?)
    case forgotten
  }

  private enum Job {
    case restore, forget
    case keep(KeptBundle)
  }

  private let shelf: BundleShelf?
  private let worker: any Worker
  private let outcomes: Mailbox<Outcome>
  private var isBusy = false
  private var toRestore: [BundleEndpoint]?
  private var inUse: [BundleEndpoint]?
  private var toKeep: [TrustDomain: KeptBundle] = [:]

  init(state: String?, worker: any Worker, wake: @escaping Waker) {
    shelf = state.map { BundleShelf(folder: $0 + "/bundles") }
    self.worker = worker
    // One job at a time has one outcome.
    outcomes = Mailbox(capacity: 4, wake: wake)
  }

  /// Asks for what is kept for these endpoints; false when there is nothing to wait for.
  func restore(_ endpoints: [BundleEndpoint]) -> Bool {
    guard shelf != nil, !endpoints.isEmpty else { return false }
    toRestore = endpoints
    advance()
    return true
  }

  func keep(_ bundle: KeptBundle) {
    guard shelf != nil else { return }
    toKeep[bundle.endpoint.trustDomain] = bundle
    advance()
  }

  /// Removes what is kept for others than these.
  func forget(besides endpoints: [BundleEndpoint]) {
    guard shelf != nil else { return }
    let used = Set(endpoints.map(\.trustDomain))
    toKeep = toKeep.filter { used.contains($0.key) }
    inUse = endpoints
    advance()
  }

  /// Call when the loop was woken, and about once a second: a worker that was busy is asked again.
  func pickUp() -> [Outcome] {
    let found = outcomes.drain()
    if !found.isEmpty { isBusy = false }
    advance()
    return found
  }

  private func advance() {
    guard !isBusy, let shelf else { return }
    let outcomes = outcomes
    if let endpoints = toRestore {
      submit(.restore) {
        let (kept, troubles) = shelf.restore(endpoints)
        outcomes.push(.restored(kept, troubles))
      }
    } else if let endpoints = inUse {
      submit(.forget) {
        shelf.forget(besides: endpoints)
        outcomes.push(.forgotten)
      }
    } else if let next = toKeep.min(by: { $0.key < $1.key })?.value {
      submit(.keep(next)) {
        var fault: ShelfTrouble?
        do throws(ShelfTrouble) { try shelf.keep(next) } catch { fault = error }
        outcomes.push(.kept(next, fault))
      }
    }
  }

  private func submit(_ job: Job, _ work: @escaping @Sendable () -> Void) {
    // Before, because a worker may be done before it returns.
    isBusy = true
    guard worker.submit(work) else {
      isBusy = false
      return
    }
    switch job {
    case .restore: toRestore = nil
    case .forget: inUse = nil
    case .keep(let bundle): toKeep[bundle.endpoint.trustDomain] = nil
    }
  }
}
