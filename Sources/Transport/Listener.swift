// Accepts connections on one loop and paces their handshakes.
//
// A full handshake costs about a millisecond of CPU, everything after it microseconds: in a reconnect
// storm, handshakes beyond `limits.handshakesAtOnce` wait unread in the kernel, first come first served. A
// turn is for CPU, not for waiting: it ends when the peer's first flight was worked off, and who sends
// nothing loses it soon.

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
public final class Listener: Acceptor, TimerHandler {
  /// How long one handshake holds its turn at most. Reason: a turn is for CPU, which takes milliseconds; a
  /// peer that keeps us waiting must not keep others waiting, too.
  private static let turnMost: Duration = .milliseconds(250)

  private let loop: EventLoop
  /// Of connections that are accepted from now on.
  public var limits: Limits
  private let memory: LoopMemory
  private weak var owner: (any ListenerOwner)?
  private var id: ListenerID?
  /// Handshakes under way, with when their turn began.
  private var turns: [ObjectIdentifier: Instant] = [:]
  private var waiting: [Connection] = []
  private var turnTimer = TimerID.none
  /// Accepted connections that were closed at once because nothing could serve them, or too many wait.
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

  /// Where it listens, for people and as a mark. The kernel is asked once.
  public private(set) lazy var name = address?.description ?? "unknown"

  public var address: SocketAddress? { id.flatMap { loop.boundAddress($0) } }

  public func stop() {
    loop.cancel(turnTimer)
    guard let listening = id else { return }
    id = nil
    loop.closeListener(listening)
  }

  public func accepted(_ socket: SocketID, from peer: SocketAddress) -> (any SocketHandler)? {
    guard let owner, waiting.count < limits.handshakesWaiting,
      let security = owner.securityForNewConnection(on: self)
    else {
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
    if turns.count < limits.handshakesAtOnce {
      begin(connection)
    } else {
      queue(connection)
    }
    owner.listener(self, accepted: connection)
    connection.begin()
    return connection
  }

  // MARK: turns

  private func begin(_ connection: Connection) {
    let key = ObjectIdentifier(connection)
    turns[key] = loop.now
    connection.turnOver = { [weak self] in
      self?.turns.removeValue(forKey: key)
      self?.giveTurns()
    }
  }

  private func queue(_ connection: Connection) {
    waiting.append(connection)
    connection.turnOver = { [weak self, weak connection] in
      // Gave up (deadline) before its turn came.
      self?.waiting.removeAll { $0 === connection }
    }
    connection.waitForTurn()
    if waiting.count == 1 { watchTurns() }
  }

  private func giveTurns() {
    while turns.count < limits.handshakesAtOnce, !waiting.isEmpty {
      let next = waiting.removeFirst()
      begin(next)
      next.takeTurn()
    }
  }

  private func watchTurns() {
    turnTimer = loop.schedule(at: loop.now + Listener.turnMost, self, tag: 0)
  }

  /// Whoever has held a turn for too long goes on without one.
  public func timerFired(_ id: TimerID, tag: Int) {
    turns = turns.filter { loop.now - $0.value < Listener.turnMost }
    giveTurns()
    if !waiting.isEmpty { watchTurns() }
  }
}
