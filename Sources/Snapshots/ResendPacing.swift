// Pacing of full answers to repeated requests: a client that asks again and again is answered, but a
// loop of such requests costs no more than a few answers and then one per `limits.resend`.

public import Primitives

/// A token bucket as one instant: when it would be full again.
public struct ResendPacing: Sendable {
  private var fullAt: Instant?
  private let interval: Duration
  private let burst: Int

  public init(limits: Limits) {
    interval = limits.resend
    burst = max(limits.resendBurst, 1)
  }

  /// When the next repeated answer may go; now or earlier means at once.
  public func earliest(now: Instant) -> Instant {
    guard let fullAt else { return now }
    return Instant(nanoseconds: fullAt.nanoseconds &- (interval * (burst - 1)).inNanoseconds)
  }

  /// Counts an answer sent now.
  public mutating func spend(now: Instant) {
    let from = fullAt.map { max($0, now) } ?? now
    fullAt = from + interval
  }
}
