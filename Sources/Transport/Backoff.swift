// How long to wait before the next dial. Source: gRPC connection back-off (×1.6, jitter ±20 %), with a
// lower start and cap, because an edge that waits two minutes for its centre is two minutes stale.

public import Primitives

public struct Backoff: Sendable {
  /// First wait. Reason: a restarted tier listens again within half a second.
  static let first: Duration = .milliseconds(500)
  /// Longest wait. Reason: bounds how stale an edge is after its centre returns.
  static let longest: Duration = .seconds(30)
  private static let factor = 1.6
  private static let spread = 0.2

  private var next = Backoff.first

  public init() {}

  /// The wait before the next try; each call makes the following one longer.
  public mutating func wait(_ generator: inout SeededGenerator) -> Duration {
    let current = next
    next = min(Backoff.longest, .nanoseconds(Int64(Double(current.inNanoseconds) * Backoff.factor)))
    return generator.jittered(current, spread: Backoff.spread)
  }

  /// After something was received: the peer works.
  public mutating func reset() { next = Backoff.first }
}
