// A grant that ends is gone at once: a client that can be reached loses what it may no longer see, or its
// stream, within two seconds of virtual time after the policy was loaded.

import Primitives

struct GrantEndChecker {
  /// The promise is one second at the relay; the rest is the way to the client.
  static let bound: Duration = .seconds(2)
  /// A link that was harsh may still hold bytes of before.
  private static let recovery: Duration = .seconds(30)

  private var troubledAt: [String: Instant] = [:]

  /// The link between a client and its edge was anything but good until now.
  mutating func noteTrouble(_ client: String, at now: Instant) { troubledAt[client] = now }

  /// Call `bound` after a policy was loaded; `stream` is the stream that the client, which was granted
  /// something then, had at that time.
  ///
  /// What the truth has dropped meanwhile does not count: its removal was on its way before, for that cause, and
  /// may wait for an acknowledgement.
  func findings(
    _ client: SimulatedClient, stream: Int, _ grants: Grants, _ truth: Truth, now: Instant
  ) -> [String] {
    guard client.stream == stream, client.call != nil else { return [] }
    if let last = troubledAt[client.host], now - last < GrantEndChecker.recovery { return [] }
    guard let granted = grants.visible(to: client.cluster) else {
      return ["\(client.host) keeps a stream that policy refuses"]
    }
    // A relay that does not know a type yet says nothing of it, not even that something is gone.
    let known = client.dialect.kinds.filter { client.talk.answered.contains($0.typeURL) }
    return known.flatMap { kind in
      let existing = Truth.cut(truth.newest, kind, Set(Truth.namespaces))
      return client.held(kind).keys.filter { !granted.contains($0.namespace) && existing[$0] != nil }.sorted()
        .map { "\(client.host) still holds \(kind.rawValue) \($0), which policy has taken back" }
    }
  }
}
