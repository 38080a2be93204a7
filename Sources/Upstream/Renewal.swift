// Before the certificates behind a stream end, the stream moves to a connection with newer ones, and nobody notices.
//
// A stream lives as long as both SVIDs that its handshake showed: the upstream ends it when ours has expired, we end it
// when its has. Both are renewed long before, so the same subscription is opened once more, at the same address, as
// a trial (Returning.swift): what counts moves over when everything was answered, and the old connection ends after it.

import Primitives
import Ring

extension Subscription {
  /// Share of what is left of the certificates' life that passes before the next look. Reason: agents renew at
  /// half of it; and each further look comes sooner than the one before.
  private static let share = 0.75
  /// Streams of a fleet that began together do not all move together.
  private static let spread = 0.1
  private static let leastWait: Duration = .milliseconds(500)

  func planRenewal() {
    loop.cancel(renewal)
    guard let end = current?.endsAt else { return }
    let left = end.milliseconds - loop.steadyWallClock.milliseconds
    // What has ended is ended by who watches trust.
    guard left > 0 else { return }
    let wait = generator.jittered(.milliseconds(left) * Subscription.share, spread: Subscription.spread)
    renewal = loop.schedule(
      at: loop.now + max(wait, Subscription.leastWait), self, tag: Tag.renew.rawValue)
  }

  func renewalIsDue() {
    guard case .following(let attempt) = state, trial == nil, hasNewerSVID(than: attempt) else {
      return planRenewal()
    }
    begin(rota.current, isRenewal: true)
  }

  /// Whether dialling again could help: a server's newer SVID is seen only then, ours is known.
  private func hasNewerSVID(than attempt: Attempt) -> Bool {
    guard let own = attempt.ownEnd, attempt.endsAt == own else { return true }
    return ownEnd.map { $0 > own } ?? false
  }
}
