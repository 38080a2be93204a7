// The keys of session tickets: made at start, changed every hour, never on disk. They live here, on the control loop,
// so that all serve loops seal with the same ones and a client may come back to any of them.

import Downstream
import Primitives
import TLS

struct TicketRotation {
  private var keys: TicketKeys?
  private var changedAt: Instant?

  /// Call about once a second.
  mutating func beat(_ now: Instant, _ crossings: ServeCrossings) {
    if let changedAt, now - changedAt < TicketKeys.life { return }
    changedAt = now
    keys = keys?.rotated() ?? TicketKeys()
    crossings.ticketKeys.publish(keys)
  }
}
