// Goal: what the tests of this room share: a loop on each kind of driver, and handlers that write down what they hear.
// Method: client and server live on one loop, which is turned until a condition holds or too many turns went by.

import Glibc
import Primitives
import Testing

@testable import Ring

/// Where a test runs: real kernel interfaces and the simulated one.
enum Stage: String, CaseIterable, CustomTestStringConvertible {
  case ioURing
  case epoll

  var testDescription: String { rawValue }

  static let real: [Stage] = [.ioURing, .epoll]
}

/// One event loop and the means to move it on.
final class Bench {
  let loop: EventLoop

  init(_ stage: Stage, sizes: RingSizes = RingSizes()) throws {
    switch stage {
    case .ioURing: loop = EventLoop(driver: try IOURingDriver(sizes: sizes))
    case .epoll: loop = EventLoop(driver: try EpollDriver())
    }
  }

  var anyAddress: SocketAddress { .ip4(0x7F00_0001, port: 0) }

  /// Turns until `condition`; false when it did not come true in `most` turns that waited.
  @discardableResult
  func run(most: Int = 2_000, until condition: () -> Bool) -> Bool {
    for _ in 0..<most {
      if condition() { return true }
      loop.turn(waitingAtMost: .milliseconds(5))
    }
    return condition()
  }

  /// Turns a few times, for what must not happen.
  func settle(_ turns: Int = 20) {
    for _ in 0..<turns { loop.turn(waitingAtMost: .milliseconds(1)) }
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
  let loop: EventLoop
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

/// Writes down everything it hears.
final class Witness: SocketHandler {
  let loop: EventLoop
  var received: [UInt8] = []
  var connected = 0
  var sent = 0
  var ends = 0
  var failures: [RingError] = []
  var closed = 0
  /// Called last in every event.
  var onEvent: (Witness, SocketID) -> Void = { _, _ in }

  init(_ loop: EventLoop) { self.loop = loop }

  func socketConnected(_ socket: SocketID) {
    connected += 1
    onEvent(self, socket)
  }
  func socketReceived(_ socket: SocketID, _ bytes: UnsafeRawBufferPointer) {
    unsafe received.append(contentsOf: bytes)
    onEvent(self, socket)
  }
  func socketSent(_ socket: SocketID, _ buffer: consuming IOBuffer) {
    #expect(buffer.isEmpty)
    sent += 1
    onEvent(self, socket)
  }
  func socketReachedEnd(_ socket: SocketID) {
    ends += 1
    onEvent(self, socket)
  }
  func socketFailed(_ socket: SocketID, _ error: RingError) {
    failures.append(error)
    onEvent(self, socket)
  }
  func socketClosed(_ socket: SocketID) {
    closed += 1
    onEvent(self, socket)
  }
}

func buffer(_ bytes: some Sequence<UInt8>) -> IOBuffer {
  let buffer = IOBuffer()
  buffer.append(Array(bytes))
  return buffer
}
