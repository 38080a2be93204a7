// What a stream to a client carries and tells, whatever its dialect: the response as a small head of its
// own and a body shared with others, the events of its requests, and its state for status.

public import Primitives

/// One message to a client: `head` and then `body`, which many clients share.
public struct StreamResponse: Sendable {
  /// Exactly as the client asked: a type URL, or a collection of the classic protocol.
  public let typeURL: String
  /// Version of the set it leads to.
  public let version: String
  /// Unique on its stream.
  public let nonce: String
  public let head: [UInt8]
  /// Nil when the response carries no resources.
  public let body: SharedBody?
  /// Resources in it.
  public let resources: Int
  /// Resources it takes away.
  public let removed: Int
  /// Why it takes them away; nil when it takes none.
  public let removals: RemovalCause?
  /// Number of the view it was made from.
  public let view: UInt64

  public init(
    typeURL: String, version: String, nonce: String, head: [UInt8], body: SharedBody?, resources: Int,
    removed: Int, removals: RemovalCause?, view: UInt64
  ) {
    self.typeURL = typeURL
    self.version = version
    self.nonce = nonce
    self.head = head
    self.body = body
    self.resources = resources
    self.removed = removed
    self.removals = removals
    self.view = view
  }

  /// Bytes of the message without gRPC's prefix.
  public var byteCount: Int { head.count + (body?.byteCount ?? 0) }

  /// The whole message, copied: for tests and small tools.
  public var bytes: [UInt8] { head + (body?.bytes ?? []) }
}

/// What a server learned from a request; for status, audit and metrics.
public enum StreamEvent: Sendable, Equatable {
  case nodeIdentified(id: String)
  case subscribed(typeURL: String)
  case acknowledged(typeURL: String, version: String)
  /// NACK.
  case rejected(typeURL: String, version: String, message: String)
  /// An answer to a response that no longer waits: ignored but for the names it carries.
  case stale(typeURL: String)
}

/// What a follower of an upstream learned; for status, logs and metrics.
public enum FollowerEvent: Sendable, Equatable {
  /// The first answer for a type since this follower was made.
  case answered(typeURL: String)
  /// We refused a response (NACK).
  case refused(typeURL: String, reason: String)
  /// A foreign upstream turned empty; what it had is kept.
  case turnedEmpty(typeURL: String)
  /// A response for a type we did not ask for.
  case unexpected(typeURL: String)
}

/// One subscription as status and CSDS show it.
public struct SubscriptionStatus: Sendable, Equatable {
  public let typeURL: String
  /// Version of the last response; nil before the first.
  public let sent: String?
  /// Version of the last response the client accepted.
  public let acked: String?
  public let nacks: Int
  /// The client's reason for its last refusal.
  public let lastNack: String?

  public init(typeURL: String, _ deliveries: Deliveries) {
    self.typeURL = typeURL
    sent = deliveries.sent
    acked = deliveries.acknowledged
    nacks = deliveries.refusals
    lastNack = deliveries.lastRefusal
  }
}
