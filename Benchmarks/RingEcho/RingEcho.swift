// Echo over one event loop: both ends, so that every operation of the hot path is on it.
//
// For two uses: `scripts/check-hot-path` counts, under callgrind, what the Swift runtime is asked to do per echo (nothing),
// and people read the CPU time per echo. Usage: RingEcho [ECHOES] [CONNECTIONS] [io_uring|epoll].

import Glibc
import Primitives
import Ring

/// What all connections share: how many echoes are left, and spare buffers.
final class Course {
  let loop: EventLoop
  let messageBytes = 64
  private(set) var echoesLeft: Int
  private var connectionsLeft: Int
  private var spare: [IOBuffer] = []
  private let message: [UInt8]

  init(loop: EventLoop, echoes: Int, connections: Int) {
    self.loop = loop
    echoesLeft = echoes
    connectionsLeft = connections
    message = Array(repeating: 0x5A, count: messageBytes)
    spare.reserveCapacity(2 * connections)
  }

  func borrow() -> IOBuffer { spare.popLast() ?? IOBuffer() }

  func giveBack(_ buffer: consuming IOBuffer) { spare.append(buffer) }

  /// Sends the next message, or closes when all have been.
  func advance(_ socket: SocketID) {
    guard echoesLeft > 0 else { return loop.close(socket) }
    echoesLeft -= 1
    let buffer = borrow()
    unsafe message.withUnsafeBytes { unsafe buffer.append($0) }
    loop.send(socket, buffer)
  }

  func oneEnded() {
    connectionsLeft -= 1
    if connectionsLeft == 0 { loop.stop() }
  }
}

/// Sends back what it receives.
final class EchoingEnd: SocketHandler {
  private let course: Course
  private let loop: EventLoop

  init(_ course: Course) {
    self.course = course
    loop = course.loop
  }

  func socketConnected(_ socket: SocketID) {}
  func socketReceived(_ socket: SocketID, _ bytes: UnsafeRawBufferPointer) {
    let buffer = course.borrow()
    unsafe buffer.append(bytes)
    loop.send(socket, buffer)
  }
  func socketSent(_ socket: SocketID, _ buffer: consuming IOBuffer) { course.giveBack(buffer) }
  func socketReachedEnd(_ socket: SocketID) { loop.close(socket) }
  func socketFailed(_ socket: SocketID, _ error: RingError) { preconditionFailure("\(error)") }
  func socketClosed(_ socket: SocketID) {}
}

/// Sends a message whenever the last one is back.
final class AskingEnd: SocketHandler {
  private let course: Course
  private var missing = 0

  init(_ course: Course) { self.course = course }

  func socketConnected(_ socket: SocketID) { ask(socket) }
  func socketReceived(_ socket: SocketID, _ bytes: UnsafeRawBufferPointer) {
    missing -= bytes.count
    if missing == 0 { ask(socket) }
  }
  func socketSent(_ socket: SocketID, _ buffer: consuming IOBuffer) { course.giveBack(buffer) }
  func socketReachedEnd(_ socket: SocketID) { course.loop.close(socket) }
  func socketFailed(_ socket: SocketID, _ error: RingError) { preconditionFailure("\(error)") }
  func socketClosed(_ socket: SocketID) { course.oneEnded() }

  private func ask(_ socket: SocketID) {
    missing = course.messageBytes
    course.advance(socket)
  }
}

final class EchoingHost: Acceptor {
  private let course: Course

  init(_ course: Course) { self.course = course }

  func accepted(_ socket: SocketID, from peer: SocketAddress) -> (any SocketHandler)? { EchoingEnd(course) }
}

@main
enum Program {
  static func main() throws {
    let arguments = CommandLine.arguments.dropFirst()
    let numbers = arguments.compactMap { Int($0) }
    let echoes = numbers.first ?? 200_000
    let connections = numbers.dropFirst().first ?? 64
    let loop = EventLoop(driver: try makeDriver(arguments.compactMap { DriverKind(rawValue: $0) }.first))
    let course = Course(loop: loop, echoes: echoes, connections: connections)
    let listener = try loop.listen(
      at: .ip4(0x7F00_0001, port: 0), backlog: Int32(clamping: connections), EchoingHost(course))
    guard let address = loop.boundAddress(listener) else { return }
    for _ in 0..<connections { _ = loop.connect(to: address, AskingEnd(course)) }
    let began = cpuMicroseconds()
    loop.run()
    let each = Double(cpuMicroseconds() - began) / Double(max(echoes, 1))
    print(
      "\(loop.kind.rawValue): \(echoes) echoes, \(connections) connections, both ends: \(each) µs CPU each")
  }

  /// User and system time of this process.
  private static func cpuMicroseconds() -> Int {
    var usage = rusage()
    unsafe getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1_000_000
      + Int(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec)
  }
}
