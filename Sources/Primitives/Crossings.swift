// The only ways a value moves between threads: `Published` (newest value wins) and `Mailbox`
// (bounded, in order). Both hold a lock for a few instructions and never call out while holding it.

import Synchronization

/// One immutable value that a writer replaces whole and readers pick up when they are woken.
public final class Published<Value: Sendable>: Sendable {
  private let cell: Mutex<Value>

  public init(_ value: Value) { cell = Mutex(value) }

  public var value: Value { cell.withLock { $0 } }

  public func publish(_ value: Value) { cell.withLock { $0 = value } }
}

/// What wakes a loop from another thread. Cheap to call often: wakes coalesce.
public typealias Waker = @Sendable () -> Void

/// A bounded queue of small values towards one loop or worker.
public final class Mailbox<Element: Sendable>: Sendable {
  private let queue: Mutex<[Element]>
  private let wake: Waker
  /// Most elements that wait at once. Unit: elements.
  public let capacity: Int

  public init(capacity: Int, wake: @escaping Waker) {
    precondition(capacity > 0, "a mailbox needs room for one element")
    self.capacity = capacity
    self.wake = wake
    queue = Mutex([])
  }

  /// False when full: the caller must have a written answer (shed, pause, close or deny).
  @discardableResult
  public func push(_ element: consuming sending Element) -> Bool {
    let value = element
    let accepted = queue.withLock { queue in
      guard queue.count < capacity else { return false }
      queue.append(value)
      return true
    }
    if accepted { wake() }
    return accepted
  }

  /// Everything that waits, in order; the mailbox is empty afterwards.
  public func drain() -> [Element] {
    queue.withLock { queue in
      let all = queue
      queue.removeAll(keepingCapacity: true)
      return all
    }
  }
}

/// A serial worker for what blocks or takes long. A thread in the process, the caller itself in the
/// simulator. Results come back through a `Mailbox` of the loop that wants them.
public protocol Worker: AnyObject, Sendable {
  /// Runs `job` after all earlier ones. False when the worker's queue is full.
  func submit(_ job: @escaping @Sendable () -> Void) -> Bool
}

/// Runs every job at once on the caller's thread: the simulator's and the tests' worker.
public final class InlineWorker: Worker {
  public init() {}
  public func submit(_ job: @escaping @Sendable () -> Void) -> Bool {
    job()
    return true
  }
}
