// Goal: everything of a loop that is not a socket: timers, wakes from other threads, watched descriptors,
// its clock. Method: short turns; what must happen is waited for, nothing is measured.

import CLinux
import Glibc
import Primitives
import Synchronization
import Testing

@testable import Ring

@Suite struct LoopTests {
  private final class Alarm: TimerHandler {
    var tags: [Int] = []
    var onFire: (Int) -> Void = { _ in }
    func timerFired(_ id: TimerID, tag: Int) {
      tags.append(tag)
      onFire(tag)
    }
  }

  @Test(arguments: Stage.allCases)
  func timersFireInOrder(_ stage: Stage) throws {
    let bench = try Bench(stage)
    let alarm = Alarm()
    let start = bench.loop.now
    for (tag, delay) in [(3, 30), (1, 10), (2, 20), (4, 30)] {
      bench.loop.schedule(at: start + .milliseconds(delay), alarm, tag: tag)
    }
    let cancelled = bench.loop.schedule(at: start + .milliseconds(15), alarm, tag: 99)
    bench.loop.cancel(cancelled)
    bench.loop.cancel(cancelled)
    alarm.onFire = { tag in #expect(bench.loop.now >= start + .milliseconds(min(tag, 3) * 10)) }
    #expect(bench.run { alarm.tags.count == 4 })
    #expect(alarm.tags == [1, 2, 3, 4])
  }

  @Test(arguments: Stage.allCases)
  func timerArmedByATimerWaitsForTheNextTurn(_ stage: Stage) throws {
    let bench = try Bench(stage)
    let alarm = Alarm()
    var turns: [UInt64] = []
    alarm.onFire = { tag in
      turns.append(bench.loop.counters.turns)
      if tag < 3 { bench.loop.schedule(at: bench.loop.now, alarm, tag: tag + 1) }
    }
    bench.loop.schedule(at: bench.loop.now, alarm, tag: 1)
    #expect(bench.run { alarm.tags == [1, 2, 3] })
    #expect(Set(turns).count == 3, "a timer due at once must not starve the sockets")
  }

  @Test(arguments: Stage.kernels)
  func timerCancelledByAnEarlierOneOfTheSameTurn(_ stage: Stage) throws {
    let bench = try Bench(stage)
    let alarm = Alarm()
    let deadline = bench.loop.now
    bench.loop.schedule(at: deadline, alarm, tag: 1)
    let second = bench.loop.schedule(at: deadline, alarm, tag: 2)
    alarm.onFire = { _ in bench.loop.cancel(second) }
    bench.settle()
    #expect(alarm.tags == [1])
  }

  @Test(arguments: Stage.kernels)
  func wakesFromOtherThreadsCoalesce(_ stage: Stage) throws {
    let bench = try Bench(stage)
    let sum = Atomic<Int>(0)
    var seen = 0
    bench.loop.onWake = { seen = sum.load(ordering: .acquiring) }
    let waker = bench.loop.waker
    // Nothing but the wake can end this wait.
    let threads = (0..<4).map { _ in
      TestThread { [waker] in
        for _ in 0..<1000 { waker() }
      }
    }
    for thread in threads { thread.join() }
    sum.store(4, ordering: .releasing)
    waker()
    bench.loop.turn(waitingAtMost: nil)
    #expect(bench.run { seen == 4 })
    #expect(bench.loop.counters.wakes >= 1 && bench.loop.counters.wakes <= 3, "4,001 calls, one wait")
    // And again: the signal is not used up.
    sum.store(5, ordering: .releasing)
    waker()
    #expect(bench.run { seen == 5 })
  }

  @Test(arguments: Stage.kernels)
  func noWakeIsLost(_ stage: Stage) throws {
    let bench = try Bench(stage)
    let mailbox = Mailbox<Int>(capacity: 100_000, wake: bench.loop.waker)
    var received: [Int] = []
    bench.loop.onWake = { received += mailbox.drain() }
    let thread = TestThread { for number in 0..<20_000 { mailbox.push(number) } }
    // Without a time limit: a lost wake would hang here for good.
    while received.count < 20_000 { bench.loop.turn(waitingAtMost: nil) }
    thread.join()
    #expect(received == Array(0..<20_000))
  }

  @Test(arguments: Stage.kernels)
  func wakeAfterTheLoopIsHarmless(_ stage: Stage) throws {
    var waker: Waker?
    do {
      let bench = try Bench(stage)
      waker = bench.loop.waker
      bench.settle()
    }
    waker?()
  }

  private final class Reader: DescriptorHandler {
    var bytes: [UInt8] = []
    var onRead: () -> Void = {}
    /// Reads one byte per call: what is left must be told again.
    func descriptorReadable(_ descriptor: Int32) {
      var byte: UInt8 = 0
      if unsafe Glibc.read(descriptor, &byte, 1) == 1 { bytes.append(byte) }
      onRead()
    }
  }

  private func put(_ bytes: [UInt8], into descriptor: Int32) {
    let written = unsafe Glibc.write(descriptor, bytes, bytes.count)
    #expect(written == bytes.count)
  }

  @Test(arguments: Stage.kernels)
  func watchedDescriptors(_ stage: Stage) throws {
    let bench = try Bench(stage)
    var pipe: [Int32] = [-1, -1]
    #expect(unsafe linux_pipe2(&pipe, Int32(O_CLOEXEC)) == 0)
    let reader = Reader()
    bench.loop.watch(descriptor: pipe[0], reader)
    bench.settle()
    #expect(reader.bytes.isEmpty)
    put([1, 2, 3], into: pipe[1])
    #expect(bench.run { reader.bytes == [1, 2, 3] })
    bench.loop.unwatch(descriptor: pipe[0])
    put([4], into: pipe[1])
    bench.settle()
    #expect(reader.bytes == [1, 2, 3])
    // Watched again, and unwatched by its own handler, which then may close it.
    bench.loop.watch(descriptor: pipe[0], reader)
    reader.onRead = {
      bench.loop.unwatch(descriptor: pipe[0])
      _ = Glibc.close(pipe[0])
    }
    #expect(bench.run { reader.bytes == [1, 2, 3, 4] })
    bench.settle()
    _ = Glibc.close(pipe[1])
    // The number may come back as another descriptor: that one works too.
    let (client, server) = try bench.pair()
    client.send("x".utf8)
    #expect(bench.run { server.received.count == 1 })
  }

  @Test func stopEndsRun() throws {
    for stage in Stage.kernels {
      let bench = try Bench(stage)
      let alarm = Alarm()
      alarm.onFire = { _ in bench.loop.stop() }
      bench.loop.schedule(at: bench.loop.now, alarm, tag: 1)
      bench.loop.run()
      #expect(alarm.tags == [1])
    }
  }

  @Test func handlersMayNotTurnTheirLoop() async {
    await #expect(processExitsWith: .failure) {
      let bench = try Bench(.epoll)
      let alarm = Alarm()
      alarm.onFire = { _ in bench.loop.turn(waitingAtMost: .zero) }
      bench.loop.schedule(at: bench.loop.now, alarm, tag: 1)
      bench.loop.turn(waitingAtMost: .zero)
    }
  }

  @Test func busyFractionStaysAShare() throws {
    let bench = try Bench(.epoll)
    bench.settle()
    #expect((0...1).contains(bench.loop.busyFraction))
  }

  @Test func driverByChoice() throws {
    #expect(try makeDriver(.ioURing).kind == .ioURing)
    #expect(try makeDriver(.epoll).kind == .epoll)
    #expect(try makeDriver(nil).kind == .ioURing)
    #expect(throws: RingError.self) { try makeDriver(.simulated) }
  }
}
