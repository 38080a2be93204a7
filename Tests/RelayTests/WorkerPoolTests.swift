// Goal: a job that hangs holds up one thread of a pool and nobody else. Method: one job that waits for another
// that was submitted after it.

import Dispatch
import Synchronization
import Testing

@testable import Relay

@Suite struct WorkerPoolTests {
  @Test func aJobThatHangsHoldsUpNobodyElse() {
    let pool = WorkerPool(name: "test", threads: 2, capacity: 4)
    let released = DispatchSemaphore(value: 0)
    let done = DispatchSemaphore(value: 0)
    #expect(pool.submit { if released.wait(timeout: .now() + 60) == .success { done.signal() } })
    #expect(pool.submit { released.signal() })
    #expect(done.wait(timeout: .now() + 60) == .success)
    pool.stop()
    #expect(!pool.submit {}, "after the stop nothing is taken")
  }

  @Test func theQueueHasAnEnd() {
    let pool = WorkerPool(name: "test", threads: 1, capacity: 1)
    let (started, released) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
    #expect(
      pool.submit {
        started.signal()
        _ = released.wait(timeout: .now() + 60)
      })
    #expect(started.wait(timeout: .now() + 60) == .success)
    #expect(pool.submit {})
    #expect(!pool.submit {})
    released.signal()
    pool.stop()
  }
}
