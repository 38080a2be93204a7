// The question a server puts to each subscription of a stream: what, if anything, goes out now? And what
// it learns when a request arrives. One vocabulary for every dialect.

public import Primitives

/// What a subscription decides by.
public struct Turn: Sendable {
  public let view: View
  public let now: Instant
  public let limits: Limits
  /// The nonce of the response, should there be one.
  public let nonce: String

  public init(view: View, now: Instant, limits: Limits, nonce: String) {
    self.view = view
    self.now = now
    self.limits = limits
    self.nonce = nonce
  }
}

/// A subscription's answer.
public enum Step: Sendable {
  case nothing
  /// Something is due and may not go before this time.
  case wait(until: Instant)
  case send(StreamResponse)
}

/// What a request means for the caller.
public struct RequestOutcome: Sendable {
  /// The version that was accepted.
  public var acknowledged: String?
  public var refused: (version: String, reason: String)?
  /// The nonce belongs to no response that waits.
  public var isStale: Bool

  public init(
    acknowledged: String? = nil, refused: (version: String, reason: String)? = nil, isStale: Bool = false
  ) {
    self.acknowledged = acknowledged
    self.refused = refused
    self.isStale = isStale
  }

  /// The events it makes for a subscription of this name.
  public func events(_ typeURL: String) -> [StreamEvent] {
    var events: [StreamEvent] = []
    if let version = acknowledged { events.append(.acknowledged(typeURL: typeURL, version: version)) }
    if let refused {
      events.append(.rejected(typeURL: typeURL, version: refused.version, message: refused.reason))
    }
    if isStale { events.append(.stale(typeURL: typeURL)) }
    return events
  }
}

/// Names that a client loses, by cause.
public struct Withdrawals: Sendable {
  /// Sorted names for each cause that occurs.
  public private(set) var names: [RemovalCause: [String]] = [:]

  /// `removed` must be sorted.
  public init(_ removed: [String], cause: (String) -> RemovalCause) {
    for name in removed { names[cause(name), default: []].append(name) }
  }

  public subscript(cause: RemovalCause) -> [String] { names[cause] ?? [] }

  public var isMixed: Bool { names.count > 1 }

  /// Names in all.
  public var count: Int { names.values.reduce(0) { $0 + $1.count } }

  /// The one cause; `source` when there are several, since that is the one brakes look at.
  public var single: RemovalCause? { isMixed ? .source : names.keys.first }
}
