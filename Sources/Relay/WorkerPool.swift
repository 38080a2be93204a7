// A worker with several threads, for jobs that may block for long and have nothing to do with each other: looking
// up names. A name whose servers do not answer holds up one thread, and everybody else goes on.
//
// Jobs start in order and may end in any. Their number is bounded: `submit` answers false when the queue is full.

import Dispatch
import Foundation
import Primitives
import Synchronization

final class WorkerPool: Worker {
  private struct Queue {
    var jobs: [@Sendable () -> Void] = []
    var isStopping = false
  }

  private let queue = Mutex(Queue())
  /// Jobs that wait at once; those that run are not counted.
  private let capacity: Int
  /// Signalled once for each job, and once for each thread at the stop.
  private let hasWork = DispatchSemaphore(value: 0)
  private let threads: Int

  /// - Parameter name: as `ps -L` and a debugger show it; the kernel keeps 15 bytes.
  init(name: String, threads: Int, capacity: Int) {
    precondition(threads > 0 && capacity > 0, "a pool needs a thread and room for one job")
    self.threads = threads
    self.capacity = capacity
    for _ in 0..<threads { Thread.start(named: name) { [self] in run() } }
  }

  func submit(_ job: @escaping @Sendable () -> Void) -> Bool {
    let accepted = queue.withLock { queue in
      guard !queue.isStopping, queue.jobs.count < capacity else { return false }
      queue.jobs.append(job)
      return true
    }
    if accepted { hasWork.signal() }
    return accepted
  }

  /// Accepts nothing more and forgets what waits. Does not wait for what runs: a look-up that hangs would hold up
  /// the end of the process.
  func stop() {
    queue.withLock { queue in
      queue.isStopping = true
      queue.jobs = []
    }
    for _ in 0..<threads { hasWork.signal() }
  }

  private func run() {
    while true {
      hasWork.wait()
      let job = queue.withLock { queue in queue.jobs.isEmpty ? nil : queue.jobs.removeFirst() }
      if let job {
        job()
      } else if queue.withLock({ $0.isStopping }) {
        return
      }
    }
  }
}
