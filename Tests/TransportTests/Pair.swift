// Two ends of real connections on one loop: a listening server and a client, with certificates made here.

import GRPC
import HTTP2
import Primitives
import Ring
import TLS
import TestCertificates
import Testing
import Transport

/// Records what happens to its connections, and answers calls by its `answer`.
final class Party: ListenerOwner, DialerOwner {
  enum Note: Equatable {
    case verified, ready
    case closed(String)
    case dialFailed
  }

  var security: Connection.Security?
  var notes: [Note] = []
  var connections: [Connection] = []
  /// Called in `connectionVerified`, before any HTTP/2 byte.
  var onVerified: (Connection) -> Void = { _ in }
  var answer: (Call, RequestHead) -> (any CallHandler)? = { _, _ in nil }
  var onReady: (Connection) -> Void = { _ in }

  func securityForNewConnection(on listener: Listener) -> Connection.Security? { security }
  func listener(_ listener: Listener, accepted connection: Connection) { connections.append(connection) }

  func connectionVerified(_ connection: Connection) {
    notes.append(.verified)
    onVerified(connection)
  }

  func connectionReady(_ connection: Connection) {
    notes.append(.ready)
    onReady(connection)
  }

  func connection(_ connection: Connection, opened call: Call, head: RequestHead) -> (any CallHandler)? {
    answer(call, head)
  }

  func connectionClosed(_ connection: Connection, _ reason: ConnectionEnd) {
    notes.append(.closed(reason.what))
    connections.removeAll { $0 === connection }
  }

  func dialFailed(_ endpoint: Endpoint, _ reasons: [String]) { notes.append(.dialFailed) }
}

/// Records the events of one call and reacts by closures.
final class Recorder: CallHandler {
  var messages: [[UInt8]] = []
  var accepted = 0
  var halfClosed = 0
  var status: GRPCStatus?
  var onMessage: (Call, [UInt8]) -> Void = { _, _ in }
  var onHalfClosed: (Call) -> Void = { _ in }
  var onEnded: (GRPCStatus) -> Void = { _ in }

  func callAccepted(_ call: Call) { accepted += 1 }
  func call(_ call: Call, received message: [UInt8]) {
    messages.append(message)
    onMessage(call, message)
  }
  func callHalfClosed(_ call: Call) {
    halfClosed += 1
    onHalfClosed(call)
  }
  func callDrained(_ call: Call) {}
  func callEnded(_ call: Call, _ status: GRPCStatus) {
    self.status = status
    onEnded(status)
  }
}

/// A server and a client party on one loop of a real driver.
final class Pair {
  static let authority = TestAuthority("example.org")

  let loop: EventLoop
  let server = Party()
  let client = Party()
  let listener: Listener
  let memory = LoopMemory()
  var limits = Limits()
  private var dials: [Dial] = []

  init(_ kind: DriverKind, limits: Limits = Limits()) throws {
    self.limits = limits
    loop = EventLoop(driver: try makeDriver(kind))
    let address = try #require(SocketAddress(literal: "127.0.0.1:0"))
    server.security = try Pair.security(.server)
    listener = try Listener(address: address, loop: loop, limits: limits, memory: memory, owner: server)
  }

  static func security(
    _ role: TLSRole, verifier: @escaping PeerVerifier = { _ in .accept }
  ) throws -> Connection.Security {
    let identity = authority.issue("spiffe://example.org/\(role == .server ? "server" : "client")")
    let context = try TLSContext(
      role: role, chain: identity.chain, key: PrivateKey(der: identity.secret), minimum: .tls13,
      verifier: verifier)
    return .tls(context, serverName: nil)
  }

  var endpoint: Endpoint {
    Endpoint(host: "127.0.0.1", port: listener.address?.port ?? 0)
  }

  func dial(_ security: Connection.Security? = nil) throws {
    let resolver = Resolver(worker: InlineWorker(), limits: limits, wake: loop.waker)
    let dial = Dial(
      endpoint, security: try security ?? Pair.security(.client), resolver: resolver, loop: loop,
      limits: limits, memory: memory)
    dials.append(dial)
    dial.start(client)
  }

  /// Turns the loop until `done`; a bound in turns, not in time, keeps a broken build from hanging.
  func run(turns: Int = 4000, until done: () -> Bool) {
    for _ in 0..<turns where !done() { loop.turn(waitingAtMost: .milliseconds(5)) }
  }
}
