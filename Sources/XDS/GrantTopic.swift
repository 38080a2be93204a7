// What an upstream says it grants us: a topic beside those of configuration. It is asked for once on every stream, and
// only after a response whose control plane is one of our relays, so that no other server ever hears of it. A
// relay that does not know it answers with nothing, as for any unknown type.

internal import Primitives
internal import Snapshots

struct GrantTopic {
  /// The text of the last notice; nil until there is one, and when the upstream is no relay or tells none.
  private(set) var text: String?
  /// The upstream has spoken, or is one that never does.
  private(set) var isTold = false
  private var isAsked = false

  /// A new stream: whoever answers now is asked anew. What was told stays until then.
  mutating func begin() { isAsked = false }

  func isOne(_ typeURL: String) -> Bool { isAsked && typeURL == GrantNotice.typeURL.text }

  /// A response for configuration came. True when the grant is to be asked for now.
  mutating func heard(fromRelay isRelay: Bool) -> Bool {
    guard isRelay else {
      (text, isTold) = (nil, true)
      return false
    }
    defer { isAsked = true }
    return !isAsked
  }

  /// Takes a notice. Returns why it is refused; then nothing is known.
  mutating func receive(_ reading: ResponseReading) -> String? {
    let told = reading.admitted.first.map { GrantNotice.text(of: $0) }
    (text, isTold) = (told ?? nil, true)
    if case .some(.none) = told { return "The grant is not a text" }
    return reading.rejected.first.map(\.reason)
  }
}
