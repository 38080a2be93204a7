// How long another address of an upstream is followed before the more preferred ones are tried again.

import Primitives

/// Jittered, so that the clients of a centre that returned do not come back in one second; longer each time, so
/// that an address that comes and goes is followed less and less.
struct ReturnPacing {
  /// Reason: longer than a restart takes.
  static let first: Duration = .seconds(60)
  /// Reason: twice an hour costs nothing.
  static let longest: Duration = .seconds(1_800)
  /// An address that was followed for this long has proven itself.
  static let steady: Duration = .seconds(600)
  private static let spread = 0.2

  private var next = ReturnPacing.first

  mutating func wait(_ generator: inout SeededGenerator) -> Duration {
    let current = next
    next = min(ReturnPacing.longest, current * 2)
    return generator.jittered(current, spread: ReturnPacing.spread)
  }

  mutating func reset() { next = ReturnPacing.first }
}
