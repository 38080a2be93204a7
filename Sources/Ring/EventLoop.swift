// One loop, one thread, one ring: takes completions from a driver as a batch and calls plain methods for
// each.
//
// Steps 1 and 14 of the climb and descent: bytes come in here and leave here. A turn is: wait, read the
// clock, handle the batch, fire timers, do what handlers left to do, run `onWake`, `onTurnEnd`. Handlers never nest, so
// the stack is bounded. Sockets: EventLoopSockets.swift. Listeners and watched descriptors:
// EventLoopListeners.swift, EventLoopWatches.swift.

import Glibc
public import Primitives

/// What a loop counts about itself; only grows.
public struct LoopCounters: Sendable, Equatable {
  public var turns: UInt64 = 0
  public var completions: UInt64 = 0
  /// Times `onWake` ran.
  public var wakes: UInt64 = 0
  /// Receives that found no free buffer and were armed again.
  public var bufferShortages: UInt64 = 0
  /// Times accepting paused because descriptors or memory had run out.
  public var acceptPauses: UInt64 = 0
  /// Calls and completions for sockets that no longer exist.
  public var stale: UInt64 = 0
  /// Sockets accepted or dialled.
  public var opened: UInt64 = 0
  /// Sockets whose last step is done: every one that was opened gets here once.
  public var closed: UInt64 = 0
}

/// The event loop. Belongs to the thread that made it; everything but `waker` is called there only.
public final class EventLoop {
  let driver: any Driver
  let sockets = SocketTable()
  var listeners: [ListeningSocket?] = []
  var watches: [DescriptorWatch?] = []
  /// Generations of listeners and watches; sockets count their own.
  var nextGeneration: UInt32 = 1
  var timers = TimerHeap<TimerAction>()
  /// What cannot be told within the call that caused it.
  var deferred: [Deferred] = []
  /// The counters so far.
  public internal(set) var counters = LoopCounters()
  /// Monotonic time, read once per turn.
  public internal(set) var now: Instant
  /// Runs on the loop after `waker()` was called, once for all calls since it last ran.
  public var onWake: (() -> Void)?
  /// Runs at the end of every turn: for what is gathered during one and handed on at once.
  public var onTurnEnd: (() -> Void)?
  private var wasWoken = false
  private var isStopped = false
  private var isTurning = false
  private var busy: BusyMeter
  private let thread = pthread_self()
  private var steady: SteadyClock

  enum TimerAction {
    case fire(any TimerHandler, tag: Int)
    case acceptAgain(ListenerID)
    case watchAgain(slot: UInt32, generation: UInt32)
  }

  enum Deferred {
    /// All operations of this row have completed.
    case joined(slot: UInt32)
    case failed(SocketID, RingError)
    /// Receiving was resumed while bytes were held.
    case deliverHeld(SocketID)
  }

  /// A loop on `driver`, which serves no other. Call it on the thread that will run the loop.
  public init(driver: any Driver) {
    self.driver = driver
    now = driver.monotonicTime
    busy = BusyMeter(start: now)
    steady = SteadyClock(wallClock: driver.wallClock, now: now)
    driver.attach(self)
  }

  /// Ends without telling handlers: the process or the simulated host is going away.
  deinit {
    driver.shutDown()
    for descriptor in sockets.descriptors { driver.close(descriptor) }
    for listener in listeners { if let listener { driver.close(listener.descriptor) } }
  }

  /// Wall-clock time; virtual in simulation.
  public var wallClock: Timestamp { driver.wallClock }

  /// Wall-clock time to judge certificates by: a jump counts only once it has lasted for a minute.
  public var steadyWallClock: Timestamp { steady.read(driver.wallClock, now: now) }

  /// How far the wall clock is from `steadyWallClock`; nil while it is believed. As of the last look at that.
  public var wallClockJump: Duration? { steady.jump }

  /// Wakes this loop from any thread; calls coalesce until `onWake` runs.
  public var waker: Waker { driver.waker }

  /// Which kernel interface carries this loop.
  public var kind: DriverKind { driver.kind }

  /// Why this loop does not run on io_uring although nothing else was asked for.
  public var fallbackReason: RingError? { driver.fallbackReason }

  /// Share of the last second that was not spent waiting: 0 … 1.
  public var busyFraction: Double { busy.fraction }

  /// Stops the process when called on another thread than the loop's.
  public func preconditionOnLoop() {
    precondition(
      pthread_equal(thread, pthread_self()) != 0, "an event loop was used on a thread that is not its own")
  }

  // MARK: running

  /// Turns until `stop()`.
  public func run() {
    precondition(driver.kind != .simulated, "a simulated loop is run by its network's step()")
    preconditionOnLoop()
    isStopped = false
    while !isStopped { turn(waitingAtMost: nil) }
  }

  /// Makes `run` return after the current turn. From the loop's thread: other threads use `waker` and
  /// `onWake`.
  public func stop() { isStopped = true }

  /// One batch: waits for completions or deadlines, at most `limit` (nil: without end), and handles them.
  public func turn(waitingAtMost limit: Duration?) {
    precondition(!isTurning, "a handler turned its own loop: handlers never nest")
    isTurning = true
    let began = driver.monotonicTime
    let batch = unsafe driver.wait(until: waitDeadline(began, limit))
    now = driver.monotonicTime
    busy.waited(from: began, to: now)
    counters.turns &+= 1
    counters.completions &+= UInt64(batch.count)
    for index in batch.indices {
      if index + EventLoop.lookahead < batch.count { unsafe approach(batch[index + EventLoop.lookahead]) }
      unsafe handle(batch[index])
    }
    fireTimers()
    runDeferred()
    if wasWoken {
      wasWoken = false
      counters.wakes &+= 1
      onWake?()
    }
    onTurnEnd?()
    isTurning = false
  }

  /// When there is something to do without a completion: at once, or at the next timer.
  var nextDeadline: Instant? { deferred.isEmpty ? timers.nextDeadline() : now }

  private func waitDeadline(_ began: Instant, _ limit: Duration?) -> Instant? {
    guard deferred.isEmpty else { return began }
    let limit = limit.map { began + $0 }
    guard let timer = timers.nextDeadline() else { return limit }
    return limit.map { min($0, timer) } ?? timer
  }

  private func handle(_ completion: Completion) {
    switch completion.token.kind {
    case .receive: received(completion)
    case .send: sent(completion)
    case .connect: connected(completion)
    case .accept: accepted(completion)
    case .watch: becameReadable(completion)
    case .wake: wasWoken = true
    case .none: counters.stale &+= 1
    }
  }

  private func runDeferred() {
    guard !deferred.isEmpty else { return }
    let work = deferred
    // What these cause waits for the next turn, which then does not wait.
    deferred.removeAll()
    for item in work {
      switch item {
      case .joined(let slot): finishClosing(slot)
      case .failed(let socket, let error): tellFailure(socket, error)
      case .deliverHeld(let socket): deliverHeld(socket)
      }
    }
  }

  /// Lets go of handlers without telling them: they end with the simulated process they belong to, although
  /// they hold this loop and it holds them.
  func abandon() {
    timers = TimerHeap()
    deferred = []
    listeners = []
    watches = []
    onWake = nil
    onTurnEnd = nil
    sockets.removeAll()
  }

  // MARK: timers

  /// Calls `handler` once, in the first turn at or after `at`. Equal deadlines fire in the order of
  /// scheduling.
  @discardableResult
  public func schedule(at: Instant, _ handler: any TimerHandler, tag: Int) -> TimerID {
    timers.arm(at: at, .fire(handler, tag: tag))
  }

  /// Does nothing for a timer that has fired.
  public func cancel(_ timer: TimerID) { timers.cancel(timer) }

  private func fireTimers() {
    // Timers armed by these handlers wait for the next turn, due or not.
    for _ in 0..<timers.count {
      guard let (id, action) = timers.popDue(now) else { return }
      switch action {
      case .fire(let handler, let tag): handler.timerFired(id, tag: tag)
      case .acceptAgain(let listener): acceptAgain(listener)
      case .watchAgain(let slot, let generation): watchAgain(slot, generation)
      }
    }
  }
}

/// Share of time not spent waiting, over windows of a second.
private struct BusyMeter {
  private var windowStart: Instant
  private var waited: Int64 = 0
  private(set) var fraction = 0.0

  init(start: Instant) { windowStart = start }

  mutating func waited(from: Instant, to: Instant) {
    waited += to.nanoseconds - from.nanoseconds
    let window = to.nanoseconds - windowStart.nanoseconds
    guard window >= 1_000_000_000 else { return }
    fraction = min(max(1 - Double(waited) / Double(window), 0), 1)
    windowStart = to
    waited = 0
  }
}
