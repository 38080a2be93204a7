// Where a snapshot stands: which truth it comes from, how new it is, and which tiers it passed.
//
// A relay never steps back within one origin and never takes back its own words from a loop. The
// rules are one pure function, so that failover, restart and adoption all ask the same question.

public import Primitives

/// One relay that a snapshot passed through.
public struct PathElement: Hashable, Sendable {
  /// UUID of the process: new at every start.
  public let instance: String
  /// Its configured name.
  public let node: String

  public init(instance: String, node: String) {
    self.instance = instance
    self.node = node
  }
}

/// The place of a snapshot in the history of its origin.
public struct Position: Sendable, Equatable {
  /// Name of the truth; replicas of one truth share it.
  public var origin: String
  /// Grows within one origin only; says nothing across origins.
  public var sequence: UInt64
  /// When the origin published it, by the origin's clock.
  public var published: Timestamp
  /// From the origin on.
  public var path: [PathElement]

  public init(origin: String, sequence: UInt64, published: Timestamp, path: [PathElement]) {
    self.origin = origin
    self.sequence = sequence
    self.published = published
    self.path = path
  }

  /// Most relays a path may name. Reason: real trees have three tiers; a longer path is a loop through
  /// restarting relays.
  public static let pathMax = 32

  /// How far ahead of our clock a sequence in milliseconds may be. Reason: clocks of hosts differ.
  public static let futureMax: Duration = .seconds(300)

  /// This position as the relay `element` passes it on.
  public func passed(by element: PathElement) -> Position {
    var next = self
    next.path.append(element)
    return next
  }

  /// The sequence of a new snapshot at an origin without one of its own: grows across restarts and
  /// clock steps.
  public static func nextSequence(after previous: UInt64, at now: Timestamp) -> UInt64 {
    max(previous < UInt64.max ? previous + 1 : previous, UInt64(max(now.milliseconds, 0)))
  }

  /// What to do with content offered at `offered` while content at `held` is served.
  public static func judge(
    offered: Position, held: Position?, instance: String, now: Timestamp, bringsChange: Bool
  ) -> PositionVerdict {
    if offered.path.contains(where: { $0.instance == instance }) || offered.path.count > pathMax {
      return .loop
    }
    // Sequences that count milliseconds are recognised by their size: etcd revisions never come near.
    let ceiling = now.milliseconds &+ futureMax.inNanoseconds / 1_000_000
    if offered.sequence > UInt64(max(ceiling, 0)) { return .future }
    guard let held, bringsChange else { return .accepted }
    if offered.origin == held.origin {
      return offered.sequence < held.sequence ? .behind : .accepted
    }
    return offered.published < held.published ? .otherOrigin : .accepted
  }
}

/// The answer of `Position.judge`.
public enum PositionVerdict: Sendable, Equatable {
  case accepted
  /// It passed through this very process.
  case loop
  /// Older than what is served, within the same origin.
  case behind
  /// Of another origin, and published earlier than what is served.
  case otherOrigin
  /// Its sequence lies more than five minutes in the future.
  case future
}
