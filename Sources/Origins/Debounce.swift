// When to look after something happened: once it has been quiet, but not later than a maximum after the
// first event, so that a busy directory is published too.

import Primitives

struct Debounce {
  /// Without events, before we look.
  let quiet: Duration
  /// After the first event, at the latest.
  let max: Duration
  private var first: Instant?

  init(quiet: Duration, max: Duration) {
    self.quiet = quiet
    self.max = max
  }

  /// Something happened at `now`. Returns when to look, unless more happens before.
  mutating func noted(at now: Instant) -> Instant {
    let start = first ?? now
    first = start
    return min(now + quiet, start + max)
  }

  /// We look now: the next event is a first one again.
  mutating func fired() { first = nil }
}
