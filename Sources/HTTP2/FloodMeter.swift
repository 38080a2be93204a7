// Counts the frames of a peer that cost us more than the peer, per second of the time handed in.

internal import Primitives

/// A count per second of each kind of frame that is bounded by a rate.
struct FloodMeter {
  private struct Second {
    var start = Instant(nanoseconds: 0)
    var count = 0

    /// Counts one more in the second that began at the first event after the last one ended.
    mutating func add(at now: Instant) -> Int {
      if now - start >= .seconds(1) || now < start {
        start = now
        count = 0
      }
      count += 1
      return count
    }
  }

  private let limits: Limits
  private var resets = Second()
  private var settings = Second()
  private var pings = Second()

  init(limits: Limits) { self.limits = limits }

  mutating func reset(at now: Instant) -> HTTP2Error? {
    resets.add(at: now) > limits.resetsPerSecond ? .flood(.resets, limit: limits.resetsPerSecond) : nil
  }

  mutating func settings(at now: Instant) -> HTTP2Error? {
    settings.add(at: now) > limits.settingsPerSecond
      ? .flood(.settings, limit: limits.settingsPerSecond) : nil
  }

  mutating func ping(at now: Instant) -> HTTP2Error? {
    pings.add(at: now) > limits.pingsPerSecond ? .flood(.pings, limit: limits.pingsPerSecond) : nil
  }
}
