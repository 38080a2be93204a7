// The source role of one stream, whichever protocol it speaks. A closed set of two: everything above asks the
// same questions of both, and both decide alike (`Snapshots/Turn`, `Deliveries`).

import MCP
import Primitives
import Snapshots
import XDS

/// `consume` moves the one that is in use out and back: in place, so that a request costs what it changes,
/// however much its stream remembers.
enum SourceRole {
  case ads(ADSServer)
  case classic(MCPSource)

  init(_ dialect: Dialect, limits: Limits) {
    switch dialect {
    case .ads(let dialect): self = .ads(ADSServer(dialect: dialect, limits: limits))
    case .classic(let method): self = .classic(MCPSource(method: method, limits: limits))
    }
  }

  /// What to send as soon as the stream is open; nil when the client speaks first.
  var greeting: [UInt8]? {
    switch self {
    case .ads: nil
    case .classic(let source): source.greeting
    }
  }

  /// Takes one request. An error ends the stream.
  mutating func receive(_ message: [UInt8], now: Instant) throws(StreamFault) {
    switch consume self {
    case .ads(var server):
      defer { self = .ads(server) }
      do throws(ADSError) { try server.receive(message, now: now) } catch { throw .ads(error) }
    case .classic(var source):
      defer { self = .classic(source) }
      do throws(MCPError) { try source.receive(message, now: now) } catch { throw .classic(error) }
    }
  }

  mutating func update(_ view: View) {
    switch consume self {
    case .ads(var server):
      server.update(view)
      self = .ads(server)
    case .classic(var source):
      source.update(view)
      self = .classic(source)
    }
  }

  /// The next response to write, or nil when there is none now. An error ends the stream.
  mutating func nextResponse(now: Instant) throws(StreamFault) -> StreamResponse? {
    switch consume self {
    case .ads(var server):
      defer { self = .ads(server) }
      do throws(ADSError) { return try server.nextResponse(now: now) } catch { throw .ads(error) }
    case .classic(var source):
      defer { self = .classic(source) }
      do throws(MCPError) { return try source.nextResponse(now: now) } catch { throw .classic(error) }
    }
  }

  mutating func nextEvent() -> StreamEvent? {
    switch consume self {
    case .ads(var server):
      defer { self = .ads(server) }
      return server.nextEvent()
    case .classic(var source):
      defer { self = .classic(source) }
      return source.nextEvent()
    }
  }

  func nextDeadline() -> Instant? {
    switch self {
    case .ads(let server): server.nextDeadline()
    case .classic(let source): source.nextDeadline()
    }
  }

  mutating func deadlinePassed(now: Instant) {
    switch consume self {
    case .ads(var server):
      server.deadlinePassed(now: now)
      self = .ads(server)
    case .classic(var source):
      source.deadlinePassed(now: now)
      self = .classic(source)
    }
  }

  /// What responses are made from.
  var view: View {
    switch self {
    case .ads(let server): server.view
    case .classic(let source): source.view
    }
  }

  /// Every subscription wants all of its type and waits for newer content only: then a push says that, whole, and
  /// nothing else.
  var isAtRest: Bool {
    switch self {
    case .ads(let server): server.isAtRest
    case .classic: false
    }
  }

  /// What it subscribed to, in the order of the first requests, and how many those are.
  var typeURLs: [String] { status.map(\.typeURL) }
  var typeCount: Int {
    switch self {
    case .ads(let server): server.typeCount
    case .classic(let source): source.status.count
    }
  }

  /// All subscriptions in the order of their first requests.
  var status: [SubscriptionStatus] {
    switch self {
    case .ads(let server): server.status
    case .classic(let source): source.status
    }
  }

  /// All subscriptions with the resources they hold, as far as there is `room` for them.
  func details(room: inout Int) -> [SubscriptionDetail] {
    switch self {
    case .ads(let server): server.details(room: &room)
    case .classic(let source): source.details(room: &room)
    }
  }

  /// The client's own name for itself, if it gave one: a label, never proof.
  var nodeID: String? {
    switch self {
    case .ads(let server): server.nodeID
    case .classic(let source): source.nodeID
    }
  }

  /// What else the client says of itself: a `google.protobuf.Struct`, unread. The classic protocol has none.
  var nodeMetadata: [UInt8] {
    switch self {
    case .ads(let server): server.nodeMetadata
    case .classic: []
    }
  }

  /// Some response has waited too long for its answer.
  func isLagging(now: Instant) -> Bool {
    switch self {
    case .ads(let server): server.isLagging(now: now)
    case .classic(let source): source.isLagging(now: now)
    }
  }
}

/// What a client did that ends its stream.
enum StreamFault: Error {
  case ads(ADSError)
  case classic(MCPError)

  /// The gRPC status code to end the stream with.
  var code: Int {
    switch self {
    case .ads(let error): error.code
    case .classic(let error): error.code
    }
  }

  var message: String {
    switch self {
    case .ads(let error): error.message
    case .classic(let error): error.message
    }
  }
}
