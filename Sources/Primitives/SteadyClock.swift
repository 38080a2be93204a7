// The wall clock as far as trust believes it.
//
// Certificates are judged by the wall clock, and that can be wrong for a while: a time server that lies, an
// operator who mistypes a date, a virtual machine that wakes up. Believed at once, one jump would end every stream.

/// Follows the wall clock, but believes a jump of more than `jumpMost` only when it is still there after
/// `confirmation`. Until then time goes on from where it was, by the monotonic clock.
public struct SteadyClock: Sendable {
  /// Reason: clocks of hosts that are kept in step differ by seconds; lives of certificates are minutes and more.
  public static let jumpMost: Duration = .seconds(300)
  /// Reason: whoever corrects a clock by mistake corrects it back within the minute.
  public static let confirmation: Duration = .seconds(60)

  /// What the wall clock was ahead of the monotonic one when it was last believed. Unit: milliseconds.
  private var offset: Int64
  private var doubted: (offset: Int64, since: Instant)?

  public init(wallClock: Timestamp, now: Instant) {
    offset = SteadyClock.offset(wallClock, now)
  }

  /// How far the wall clock is from what is believed; nil while it is believed. Negative: it went back.
  public var jump: Duration? {
    doubted.map { .milliseconds(SteadyClock.difference($0.offset, offset)) }
  }

  /// The time to judge by.
  public mutating func read(_ wallClock: Timestamp, now: Instant) -> Timestamp {
    let found = SteadyClock.offset(wallClock, now)
    if SteadyClock.agree(found, offset) {
      doubted = nil
    } else if let doubt = doubted, SteadyClock.agree(found, doubt.offset) {
      guard now - doubt.since >= SteadyClock.confirmation else { return believed(now) }
      doubted = nil
    } else {
      doubted = (found, now)
      return believed(now)
    }
    offset = found
    return wallClock
  }

  private func believed(_ now: Instant) -> Timestamp {
    let (sum, overflow) = offset.addingReportingOverflow(SteadyClock.milliseconds(now))
    return Timestamp(milliseconds: overflow ? offset : sum)
  }

  private static func offset(_ wallClock: Timestamp, _ now: Instant) -> Int64 {
    difference(wallClock.milliseconds, milliseconds(now))
  }

  private static func milliseconds(_ now: Instant) -> Int64 { now.nanoseconds / 1_000_000 }

  private static func agree(_ left: Int64, _ right: Int64) -> Bool {
    difference(left, right).magnitude <= UInt64(jumpMost.components.seconds) * 1000
  }

  /// Saturates.
  private static func difference(_ left: Int64, _ right: Int64) -> Int64 {
    let (result, overflow) = left.subtractingReportingOverflow(right)
    guard overflow else { return result }
    return left < 0 ? .min : .max
  }
}
