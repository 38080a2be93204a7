// The question a server puts to each subscription: what, if anything, goes out now?

internal import Primitives
internal import Snapshots

/// What a subscription decides by.
struct Turn {
  let view: View
  let now: Instant
  let limits: Limits
  /// The nonce of the response, should there be one.
  let nonce: String
}

/// A subscription's answer.
enum Step {
  case nothing
  /// Something is due and may not go before this time.
  case wait(until: Instant)
  case send(ADSResponse)
}

/// What a request means for the caller.
struct RequestOutcome {
  var acknowledged: String?
  var refused: (version: String, reason: String)?
  /// The nonce belongs to no response that waits.
  var isStale = false
}

/// Names that a client loses, by cause.
struct Withdrawals {
  /// Sorted names for each cause that occurs.
  private(set) var names: [RemovalCause: [String]] = [:]

  init(_ removed: [String], cause: (String) -> RemovalCause) {
    for name in removed { names[cause(name), default: []].append(name) }
  }

  subscript(cause: RemovalCause) -> [String] { names[cause] ?? [] }

  var isMixed: Bool { names.count > 1 }

  /// The one cause; `source` when there are several, since that is the one brakes look at.
  var single: RemovalCause? { isMixed ? .source : names.keys.first }
}
