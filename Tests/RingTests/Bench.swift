// Goal: what the tests of this room share: a loop on each kind of driver, and handlers that write down what
// they hear. Method: client and server live on one loop, which is turned until a condition holds or too
// many turns went by.

import Glibc
import Primitives
import Synchronization
import Testing

@testable import Ring

/// Where a test runs: the two kernel interfaces and the simulated network.
enum Stage: String, CaseIterable, CustomTestStringConvertible {
  case ioURing
  case epoll
  case simulated

  var testDescription: String { rawValue }

  static let kernels: [Stage] = [.ioURing, .epoll]
}

/// One event loop and the means to move it on.
final class Bench {
  let loop: EventLoop
  private let network: SimulatedNetwork?

  init(_ stage: Stage, sizes: RingSizes = RingSizes()) throws {
    switch stage {
    case .ioURing:
      network = nil
      loop = EventLoop(driver: try IOURingDriver(sizes: sizes))
    case .epoll:
      network = nil
      loop = EventLoop(driver: try EpollDriver())
    case .simulated:
      let network = SimulatedNetwork(seed: 7)
      self.network = network
      loop = EventLoop(driver: SimulatedDriver(network: network, host: "bench"))
    }
  }

  var anyAddress: SocketAddress { .ip4(0x7F00_0001, port: 0) }

  /// Moves on until `condition`; false when it did not come true in `most` turns that waited.
  @discardableResult
  func run(most: Int = 4_000, until condition: () -> Bool) -> Bool {
    for _ in 0..<most {
      if condition() { return true }
      if let network {
        if !network.step() { return condition() }
      } else {
        loop.turn(waitingAtMost: .milliseconds(5))
      }
    }
    return condition()
  }

  /// Lets a little time pass, for what must not happen.
  func settle() {
    if let network { return network.run(for: .milliseconds(50)) }
    for _ in 0..<20 { loop.turn(waitingAtMost: .milliseconds(1)) }
  }

  /// An echoing listener's address.
  func echoHost() throws -> SocketAddress {
    try address(of: Host { [unowned loop] _, _ in Echo(loop) })
  }

  func address(of host: Host) throws -> SocketAddress {
    let listener = try loop.listen(at: anyAddress, backlog: 512, host)
    return try #require(loop.boundAddress(listener))
  }

  /// A connected pair: who dialled and who accepted.
  func pair() throws -> (client: Witness, server: Witness) {
    let (client, server) = (Witness(loop), Witness(loop))
    let host = Host { socket, _ in
      server.socket = socket
      return server
    }
    let listener = try loop.listen(at: anyAddress, backlog: 1, host)
    let address = try #require(loop.boundAddress(listener))
    client.socket = loop.connect(to: address, client)
    #expect(run { client.connected == 1 && host.accepted == 1 })
    loop.closeListener(listener)
    return (client, server)
  }
}

/// Accepts everything and makes a handler for each.
final class Host: Acceptor {
  let makeHandler: (SocketID, SocketAddress) -> (any SocketHandler)?
  private(set) var accepted = 0

  init(_ makeHandler: @escaping (SocketID, SocketAddress) -> (any SocketHandler)?) {
    self.makeHandler = makeHandler
  }

  func accepted(_ socket: SocketID, from peer: SocketAddress) -> (any SocketHandler)? {
    accepted += 1
    return makeHandler(socket, peer)
  }
}

/// Sends back what it receives, one send at a time.
final class Echo: SocketHandler {
  unowned let loop: EventLoop
  private var waiting = IOBuffer()
  private var isSending = false
  private(set) var isClosed = false

  init(_ loop: EventLoop) { self.loop = loop }

  func socketConnected(_ socket: SocketID) {}
  func socketReceived(_ socket: SocketID, _ bytes: UnsafeRawBufferPointer) {
    unsafe waiting.append(bytes)
    sendWaiting(socket)
  }
  func socketSent(_ socket: SocketID, _ buffer: consuming IOBuffer) {
    isSending = false
    sendWaiting(socket)
  }
  func socketReachedEnd(_ socket: SocketID) { loop.close(socket) }
  func socketFailed(_ socket: SocketID, _ error: RingError) { loop.close(socket) }
  func socketClosed(_ socket: SocketID) { isClosed = true }

  private func sendWaiting(_ socket: SocketID) {
    guard !isSending, !waiting.isEmpty else { return }
    isSending = true
    let full = waiting
    waiting = IOBuffer()
    loop.send(socket, full)
  }
}

/// Writes down everything it hears, and that handlers never nest.
final class Witness: SocketHandler {
  unowned let loop: EventLoop
  var socket: SocketID?
  var received: [UInt8] = []
  var connected = 0
  var sent = 0
  var ends = 0
  var failures: [RingError] = []
  var closed = 0
  /// Called last in every event.
  var onEvent: (Witness, SocketID) -> Void = { _, _ in }
  /// By loop; several tests run at once.
  private static let nesting = Mutex<[ObjectIdentifier: Int]>([:])

  init(_ loop: EventLoop) { self.loop = loop }

  func send(_ bytes: some Sequence<UInt8>) {
    guard let socket else { return }
    loop.send(socket, buffer(bytes))
  }

  func close() { if let socket { loop.close(socket) } }

  func socketConnected(_ socket: SocketID) { hear(socket) { connected += 1 } }
  func socketReceived(_ socket: SocketID, _ bytes: UnsafeRawBufferPointer) {
    let copy = unsafe Array(bytes)
    hear(socket) { received += copy }
  }
  func socketSent(_ socket: SocketID, _ buffer: IOBuffer) {
    #expect(buffer.isEmpty)
    hear(socket) { sent += 1 }
  }
  func socketReachedEnd(_ socket: SocketID) { hear(socket) { ends += 1 } }
  func socketFailed(_ socket: SocketID, _ error: RingError) { hear(socket) { failures.append(error) } }
  func socketClosed(_ socket: SocketID) { hear(socket) { closed += 1 } }

  private func hear(_ socket: SocketID, _ note: () -> Void) {
    #expect(closed == 0, "nothing comes after socketClosed")
    let id = ObjectIdentifier(loop)
    let depth = Witness.nesting.withLock { depths in
      depths[id, default: 0] += 1
      return depths[id, default: 0]
    }
    #expect(depth == 1, "handlers of one loop must not nest")
    note()
    onEvent(self, socket)
    Witness.nesting.withLock { $0[id] = nil }
  }
}

func buffer(_ bytes: some Sequence<UInt8>) -> IOBuffer {
  let buffer = IOBuffer()
  buffer.append(Array(bytes))
  return buffer
}

/// Bytes whose value tells their place.
func pattern(_ count: Int, seed: UInt64 = 1) -> [UInt8] {
  var generator = SeededGenerator(seed: seed)
  return (0..<count).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
}

/// Runs `body` on a thread of its own and waits for its end in `join`.
final class TestThread {
  private final class Body: Sendable {
    let run: @Sendable () -> Void
    init(_ run: @escaping @Sendable () -> Void) { self.run = run }
  }
  private var thread = pthread_t()

  init(_ body: @escaping @Sendable () -> Void) {
    let box = unsafe Unmanaged.passRetained(Body(body)).toOpaque()
    let failure = unsafe pthread_create(
      &thread, nil,
      { context in
        guard let context = unsafe context else { return nil }
        unsafe Unmanaged<Body>.fromOpaque(context).takeRetainedValue().run()
        return nil
      }, box)
    precondition(failure == 0, "no thread for a test")
  }

  func join() { _ = pthread_join(thread, nil) }
}
