// Accepts connections on one loop and paces their handshakes.
//
// A full handshake costs about a millisecond of CPU, everything after it microseconds: in a reconnect
// storm, handshakes beyond `limits.handshakesAtOnce` wait unread in the kernel, first come first served.

public import Primitives
public import Ring
import TLS

/// What a listener asks of the room above it.
public protocol ListenerOwner: ConnectionOwner {
  /// The newest server security; nil while this host has no identity (the connection is closed).
  func securityForNewConnection(on listener: Listener) -> Connection.Security?
  /// A connection was accepted and is held by the listener's owner from now on.
  func listener(_ listener: Listener, accepted connection: Connection)
}

/// One listening socket on one loop.
public final class Listener: Acceptor {
  private let loop: EventLoop
  private let limits: Limits
  private let memory: LoopMemory
  private weak var owner: (any ListenerOwner)?
  private var id: ListenerID?
  private var handshakes = 0
  private var waiting: [Connection] = []
  /// Accepted connections that were closed at once because nothing could serve them.
  public private(set) var turnedAway = 0

  /// Starts accepting on `descriptor`, which is bound and listening and belongs to the loop from now on.
  public init(
    descriptor: Int32, loop: EventLoop, limits: Limits, memory: LoopMemory, owner: any ListenerOwner
  ) throws(RingError) {
    self.loop = loop
    self.limits = limits
    self.memory = memory
    self.owner = owner
    id = try loop.listen(descriptor: descriptor, self)
  }

  /// Binds `address` on this loop alone: for the simulator and tests.
  public init(
    address: SocketAddress, loop: EventLoop, limits: Limits, memory: LoopMemory, owner: any ListenerOwner
  ) throws(RingError) {
    self.loop = loop
    self.limits = limits
    self.memory = memory
    self.owner = owner
    id = try loop.listen(at: address, backlog: 4096, self)
  }

  public var address: SocketAddress? { id.flatMap { loop.boundAddress($0) } }

  public func stop() {
    guard let listening = id else { return }
    id = nil
    loop.closeListener(listening)
  }

  public func accepted(_ socket: SocketID, from peer: SocketAddress) -> (any SocketHandler)? {
    guard let owner, let security = owner.securityForNewConnection(on: self) else {
      turnedAway += 1
      return nil
    }
    let connection: Connection
    do throws(TLSError) {
      connection = try Connection(
        accepted: socket, from: peer, security: security, loop: loop, limits: limits, memory: memory,
        owner: owner)
    } catch {
      turnedAway += 1
      return nil
    }
    if handshakes < limits.handshakesAtOnce {
      begin(connection)
    } else {
      waiting.append(connection)
      connection.handshakeOver = { [weak self, weak connection] in
        // Gave up (deadline) before its turn came.
        self?.waiting.removeAll { $0 === connection }
      }
      connection.waitForTurn()
    }
    owner.listener(self, accepted: connection)
    return connection
  }

  private func begin(_ connection: Connection) {
    handshakes += 1
    connection.handshakeOver = { [weak self] in self?.handshakeOver() }
  }

  private func handshakeOver() {
    handshakes -= 1
    guard handshakes < limits.handshakesAtOnce, !waiting.isEmpty else { return }
    let next = waiting.removeFirst()
    begin(next)
    next.takeTurn()
  }
}
