// Deadlines of one loop: a binary heap with lazy cancellation.

/// Names one armed timer; a cancelled or fired one is never reused.
public struct TimerID: Hashable, Sendable {
  fileprivate let serial: UInt64
  /// Matches no timer.
  public static let none = TimerID(serial: 0)
}

/// Pending deadlines with a payload each. Arm and cancel O(log n); no allocation once warm.
public struct TimerHeap<Payload> {
  private struct Entry {
    let deadline: Instant
    let serial: UInt64
    var precedes: (Int64, UInt64) { (deadline.nanoseconds, serial) }
  }

  private var heap: [Entry] = []
  /// By serial, so that a cancelled payload is let go at once and not at its deadline.
  private var live: [UInt64: Payload] = [:]
  private var nextSerial: UInt64 = 1

  public init() {}

  public var isEmpty: Bool { live.isEmpty }
  public var count: Int { live.count }

  public mutating func arm(at deadline: Instant, _ payload: Payload) -> TimerID {
    let serial = nextSerial
    nextSerial += 1
    live[serial] = payload
    heap.append(Entry(deadline: deadline, serial: serial))
    siftUp(heap.count - 1)
    return TimerID(serial: serial)
  }

  /// Does nothing for a timer that fired or was cancelled before.
  public mutating func cancel(_ id: TimerID) {
    guard live.removeValue(forKey: id.serial) != nil else { return }
    // Cancelled entries leave with their deadline; compact when they are the majority.
    if heap.count > 64, heap.count > live.count * 2 { compact() }
  }

  /// The earliest deadline still armed.
  public mutating func nextDeadline() -> Instant? {
    dropCancelled()
    return heap.first?.deadline
  }

  /// Removes and returns one timer due at `now`, earliest first (arming order on ties); nil when none is due.
  public mutating func popDue(_ now: Instant) -> (id: TimerID, payload: Payload)? {
    dropCancelled()
    guard let first = heap.first, first.deadline <= now,
      let payload = live.removeValue(forKey: first.serial)
    else { return nil }
    removeFirst()
    return (TimerID(serial: first.serial), payload)
  }

  private mutating func dropCancelled() {
    while let first = heap.first, live[first.serial] == nil { removeFirst() }
  }

  private mutating func compact() {
    let kept = heap.filter { live[$0.serial] != nil }
    heap.removeAll(keepingCapacity: true)
    for entry in kept {
      heap.append(entry)
      siftUp(heap.count - 1)
    }
  }

  private mutating func removeFirst() {
    heap.swapAt(0, heap.count - 1)
    heap.removeLast()
    siftDown(0)
  }

  private mutating func siftUp(_ index: Int) {
    var child = index
    while child > 0 {
      let parent = (child - 1) / 2
      guard heap[child].precedes < heap[parent].precedes else { return }
      heap.swapAt(child, parent)
      child = parent
    }
  }

  private mutating func siftDown(_ index: Int) {
    var parent = index
    while true {
      var least = parent
      for child in [2 * parent + 1, 2 * parent + 2]
      where child < heap.count && heap[child].precedes < heap[least].precedes {
        least = child
      }
      guard least != parent else { return }
      heap.swapAt(parent, least)
      parent = least
    }
  }
}
