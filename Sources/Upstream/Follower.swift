// The asking side of a stream, in whichever protocol the upstream speaks: one of two, closed.

public import MCP
import Primitives
import Snapshots
public import XDS

public enum Follower {
  /// Aggregated discovery, state of the world or delta.
  case discovery(ADSSubscriber, ADSDialect)
  /// The classic protocol.
  case classic(MCPSink, MCPMethod)

  /// A response that ends the stream, and what it says of the upstream.
  struct Fault: Error {
    let reason: String
    /// What is offered is older than what is held.
    let isBehind: Bool
  }

  var path: String {
    switch self {
    case .discovery(_, let dialect): dialect.path
    case .classic(_, let method): method.path
    }
  }

  /// Whether pings must be rare. Reason: servers of that time end a connection that is pinged more often than
  /// every five minutes.
  var isClassic: Bool { if case .classic = self { true } else { false } }

  /// The first requests of a new stream; `upstream` is who answers now.
  mutating func resume(upstream: String, now: Instant) -> [[UInt8]] {
    switch self {
    case .discovery(var subscriber, let dialect):
      defer { self = .discovery(subscriber, dialect) }
      return subscriber.resume(upstream: upstream)
    case .classic(var sink, let method):
      defer { self = .classic(sink, method) }
      return sink.resume(upstream: upstream, now: now)
    }
  }

  /// Takes what the next stream offers for the truth: an operator's word.
  mutating func adoptNextStream() {
    switch self {
    case .discovery(var subscriber, let dialect):
      subscriber.adoptNextStream()
      self = .discovery(subscriber, dialect)
    case .classic(var sink, let method):
      sink.adoptNextStream()
      self = .classic(sink, method)
    }
  }

  /// For what is received from now on.
  mutating func adopt(_ limits: Limits) {
    switch self {
    case .discovery(var subscriber, let dialect):
      subscriber.adopt(limits)
      self = .discovery(subscriber, dialect)
    case .classic(var sink, let method):
      sink.adopt(limits)
      self = .classic(sink, method)
    }
  }

  mutating func introduce(as node: Node) {
    guard case .discovery(var subscriber, let dialect) = self else { return }
    subscriber.introduce(as: node)
    self = .discovery(subscriber, dialect)
  }

  mutating func receive(
    _ message: [UInt8], now: Instant, wallClock: Timestamp
  ) throws(Fault) -> [SourceUpdate] {
    switch self {
    case .discovery(var subscriber, let dialect):
      defer { self = .discovery(subscriber, dialect) }
      do throws(ADSError) {
        return try subscriber.receive(message, now: now, wallClock: wallClock)
      } catch {
        switch error {
        case .behind, .otherOrigin: throw Fault(reason: error.message, isBehind: true)
        default: throw Fault(reason: error.message, isBehind: false)
        }
      }
    case .classic(var sink, let method):
      defer { self = .classic(sink, method) }
      do throws(MCPError) {
        return try sink.receive(message, now: now, wallClock: wallClock)
      } catch {
        throw Fault(reason: error.message, isBehind: false)
      }
    }
  }

  /// The upstream ended the stream. `requests`: those of a new one to be opened at once, where it ended over
  /// something that need not be asked for.
  mutating func streamEnded(
    code: Int, message: String, now: Instant
  ) -> (updates: [SourceUpdate], requests: [[UInt8]]?) {
    guard case .classic(var sink, let method) = self else { return ([], nil) }
    defer { self = .classic(sink, method) }
    let (ending, updates) = sink.streamEnded(code: code, message: message, now: now)
    guard case .reopen = ending else { return (updates, nil) }
    return (updates, sink.reopen())
  }

  mutating func nextRequest() -> [UInt8]? {
    switch self {
    case .discovery(var subscriber, let dialect):
      defer { self = .discovery(subscriber, dialect) }
      return subscriber.nextRequest()
    case .classic(var sink, let method):
      defer { self = .classic(sink, method) }
      return sink.nextRequest()
    }
  }

  mutating func nextEvent() -> FollowerEvent? {
    switch self {
    case .discovery(var subscriber, let dialect):
      defer { self = .discovery(subscriber, dialect) }
      return subscriber.nextEvent()
    case .classic(var sink, let method):
      defer { self = .classic(sink, method) }
      return sink.nextEvent()
    }
  }

  var nextDeadline: Instant? {
    switch self {
    case .discovery(let subscriber, _): subscriber.nextDeadline()
    case .classic(let sink, _): sink.nextDeadline()
    }
  }

  mutating func deadlinePassed(now: Instant) -> [SourceUpdate] {
    switch self {
    case .discovery(var subscriber, let dialect):
      defer { self = .discovery(subscriber, dialect) }
      return subscriber.deadlinePassed(now: now)
    case .classic(var sink, let method):
      defer { self = .classic(sink, method) }
      return sink.deadlinePassed(now: now)
    }
  }

  /// Asks for everything again, where the protocol has a way to.
  mutating func refresh() {
    guard case .discovery(var subscriber, let dialect) = self else { return }
    subscriber.refresh()
    self = .discovery(subscriber, dialect)
  }

  /// What the upstream says it grants us. The classic protocol has no place for it.
  var grant: String? {
    if case .discovery(let subscriber, _) = self { subscriber.grant } else { nil }
  }

  /// Whether it has said that, or is known to say nothing.
  var isGrantTold: Bool {
    if case .discovery(let subscriber, _) = self { subscriber.isGrantTold } else { true }
  }

  /// Everything that was ever answered has been answered on this stream, too.
  var isAnsweredAnew: Bool {
    switch self {
    case .discovery(let subscriber, _): subscriber.isAnsweredAnew
    case .classic(let sink, _): sink.isAnsweredAnew
    }
  }

  var unanswered: [TypeURL] {
    switch self {
    case .discovery(let subscriber, _): subscriber.unanswered
    case .classic(let sink, _): sink.unanswered
    }
  }

  /// The kind that an event names.
  func type(of name: String) -> TypeName? {
    switch self {
    case .discovery: TypeURL(parsing: name)?.type
    case .classic(let sink, _): sink.type(of: name)
    }
  }
}
