// Goal: a worker runs its jobs in order, refuses what is too many, and loses none at its end.
// Method: jobs that wait for each other by semaphore, so that every state is reached for certain.

import Dispatch
import Foundation
import Synchronization
import Testing

@testable import Relay

struct ThreadWorkerTests {
  @Test func runsInOrderAndDrainsAtStop() {
    let order = Log()
    let worker = ThreadWorker(name: "test", capacity: 1_000)
    for index in 0..<1_000 { #expect(worker.submit { order.append(index) }) }
    worker.stop()
    #expect(order.values == Array(0..<1_000))
    #expect(!worker.submit { order.append(-1) })
    #expect(order.values.count == 1_000)
  }

  @Test func refusesWhenFullAndAcceptsAgain() {
    let worker = ThreadWorker(name: "test", capacity: 2)
    let started = DispatchSemaphore(value: 0)
    let mayEnd = DispatchSemaphore(value: 0)
    let done = Log()
    #expect(
      worker.submit {
        started.signal()
        mayEnd.wait()
      })
    started.wait()
    #expect(worker.submit { done.append(1) })
    #expect(worker.submit { done.append(2) })
    #expect(!worker.submit { done.append(3) })
    mayEnd.signal()
    worker.stop()
    #expect(done.values == [1, 2])
  }

  @Test func itsThreadBearsItsName() {
    let worker = ThreadWorker(name: "manifests", capacity: 1)
    let seen = Mutex("")
    let read: @Sendable () -> Void = {
      let name = try? String(contentsOfFile: "/proc/thread-self/comm", encoding: .utf8)
      seen.withLock { $0 = name ?? "unreadable" }
    }
    #expect(worker.submit(read))
    worker.stop()
    #expect(seen.withLock { $0 } == "manifests\n")
  }

  @Test func aJobMaySubmitTheNext() {
    let worker = ThreadWorker(name: "test", capacity: 1)
    let done = DispatchSemaphore(value: 0)
    #expect(worker.submit { _ = worker.submit { done.signal() } })
    done.wait()
    worker.stop()
  }
}

/// Numbers in the order they came.
final class Log: Sendable {
  private let cell = Mutex<[Int]>([])
  var values: [Int] { cell.withLock { $0 } }
  func append(_ value: Int) { cell.withLock { $0.append(value) } }
}
