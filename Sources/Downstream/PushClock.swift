// How long a client takes to acknowledge what was published: `push_seconds`, for the responses of one stream.

import Primitives
import Snapshots

struct PushClock {
  private struct Awaited {
    var version: String
    var since: Instant
    var isAnswered: Bool
  }

  /// By type URL; as many as the stream has subscriptions.
  private var newest: [String: Awaited] = [:]
  /// A first answer cannot be faster than its question.
  private var askedAt: Instant

  init(now: Instant) { askedAt = now }

  mutating func asked(at now: Instant) { askedAt = now }

  /// `arrivedAt`: when the view that the response was made from reached this loop.
  mutating func delivering(_ response: StreamResponse, arrivedAt: Instant) {
    let before = newest[response.typeURL]
    // The same content once more was not published anew.
    guard before?.version != response.version else { return }
    let since = before == nil ? max(arrivedAt, askedAt) : arrivedAt
    newest[response.typeURL] = Awaited(version: response.version, since: since, isAnswered: false)
  }

  /// The time from publication to this acknowledgement; nil when it answers something older or again.
  mutating func acknowledged(_ typeURL: String, _ version: String, at now: Instant) -> Duration? {
    guard let awaited = newest[typeURL], awaited.version == version, !awaited.isAnswered else { return nil }
    newest[typeURL]?.isAnswered = true
    return now - awaited.since
  }
}
