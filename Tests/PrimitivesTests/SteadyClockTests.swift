// Goal: a jump of the wall clock is believed when it lasts, never at once, and small steps always.
// Method: readings in a table of moments; random walks never leave what is believed behind by more than a jump.

import Primitives
import Testing

private let start = Timestamp(seconds: 1_800_000_000)

/// A clock and its readings: seconds since the start on both clocks.
private struct Reader {
  var clock = SteadyClock(wallClock: start, now: Instant(nanoseconds: 0))

  mutating func read(_ monotonic: Int64, wall: Int64) -> Int64 {
    clock.read(
      Timestamp(seconds: start.seconds + wall), now: Instant(nanoseconds: monotonic * 1_000_000_000)
    ).seconds - start.seconds
  }
}

struct SteadyClockTests {
  @Test(arguments: [0, 1, -1, 299, -299, 300, -300] as [Int64])
  func smallStepsAreFollowed(_ step: Int64) {
    var reader = Reader()
    #expect(reader.read(10, wall: 10 + step) == 10 + step)
    #expect(reader.clock.jump == nil)
  }

  @Test(arguments: [301, -301, 86_400, -86_400, 400_000_000] as [Int64])
  func jumpsAreBelievedAfterAMinute(_ step: Int64) {
    var reader = Reader()
    #expect(reader.read(10, wall: 10 + step) == 10)
    #expect(reader.clock.jump == .seconds(step))
    #expect(reader.read(40, wall: 40 + step) == 40)
    #expect(reader.read(69, wall: 69 + step) == 69)
    #expect(reader.read(70, wall: 70 + step) == 70 + step)
    #expect(reader.clock.jump == nil)
  }

  @Test func aJumpThatIsTakenBackNeverHappened() {
    var reader = Reader()
    #expect(reader.read(10, wall: 90_000) == 10)
    #expect(reader.read(40, wall: 40) == 40)
    #expect(reader.clock.jump == nil)
    // And does not shorten the doubt about the next one.
    #expect(reader.read(65, wall: 90_000) == 65)
    #expect(reader.read(100, wall: 90_035) == 100)
  }

  @Test func aClockThatJumpsAboutIsNotBelieved() {
    var reader = Reader()
    for second in 1...600 as ClosedRange<Int64> {
      #expect(reader.read(second, wall: second + (second % 2 == 0 ? 10_000 : -10_000)) == second)
    }
  }

  @Test func extremesDoNotTrap() {
    for seconds in [Int64.min, -1, 0, .max] {
      var clock = SteadyClock(wallClock: Timestamp(seconds: seconds), now: Instant(nanoseconds: .max))
      for other in [Int64.min, -1, 0, .max] {
        _ = clock.read(Timestamp(seconds: other), now: Instant(nanoseconds: 0))
        _ = clock.jump
      }
    }
  }
}
