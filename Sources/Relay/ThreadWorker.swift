// A serial worker with a thread of its own, for what blocks or takes long: store, manifests, publisher,
// resolver, audit, journal. Jobs run in order; their number is bounded; results travel back through a
// mailbox of the loop that wants them.

import CLinux
import Dispatch
import Foundation
import Primitives
import Synchronization

/// Full means: `submit` answers false and the job is not kept. `stop` runs what waits, then ends.
final class ThreadWorker: Worker {
  private struct Queue {
    var jobs: [@Sendable () -> Void] = []
    var isStopping = false
  }

  private let queue = Mutex(Queue())
  /// Jobs that wait at once; the batch that runs is not counted.
  private let capacity: Int
  /// Signalled once for each time the queue became non-empty, and once for the stop.
  private let hasWork = DispatchSemaphore(value: 0)
  private let hasEnded = DispatchSemaphore(value: 0)

  /// - Parameter name: as `ps -L` and a debugger show it; the kernel keeps 15 bytes.
  init(name: String, capacity: Int) {
    precondition(capacity > 0, "a worker needs room for one job")
    self.capacity = capacity
    // The thread holds the worker until `stop`: dropping the last reference elsewhere loses no job.
    Thread.start(named: name) { [self] in
      run()
      hasEnded.signal()
    }
  }

  func submit(_ job: @escaping @Sendable () -> Void) -> Bool {
    let (accepted, wasEmpty) = queue.withLock { queue in
      guard !queue.isStopping, queue.jobs.count < capacity else { return (false, false) }
      queue.jobs.append(job)
      return (true, queue.jobs.count == 1)
    }
    if wasEmpty { hasWork.signal() }
    return accepted
  }

  /// Accepts nothing more, runs every accepted job, and returns when the thread has ended. Call once,
  /// and never from a job.
  func stop() {
    queue.withLock { queue in
      precondition(!queue.isStopping, "a worker is stopped once")
      queue.isStopping = true
    }
    hasWork.signal()
    hasEnded.wait()
  }

  private func run() {
    while true {
      hasWork.wait()
      let (jobs, isStopping) = queue.withLock { queue in
        let jobs = queue.jobs
        queue.jobs = []
        return (jobs, queue.isStopping)
      }
      for job in jobs { job() }
      if isStopping { return }
    }
  }
}

extension Thread {
  /// Starts a named thread. Loops are born inside `body`, so that the compiler proves their confinement.
  static func start(named name: String, _ body: @escaping @Sendable () -> Void) {
    let thread = Thread {
      // Not by `Thread.name`: that is lost when the new thread is faster than the one that started it.
      _ = unsafe linux_name_thread(name)
      body()
    }
    thread.stackSize = 8 * 1024 * 1024
    thread.start()
  }
}
