// Plain socket calls that io_uring and epoll share: make, bind, name and close. Nothing here waits.

import CLinux
import Glibc
import Primitives

/// Binds and listens once. Each serve loop then takes a `dup` of the descriptor by
/// `EventLoop.listen(descriptor:)`: the loops share one queue of connections, so none waits behind a busy
/// loop. Close-on-exec. The caller owns it.
public func bindListener(_ address: SocketAddress) throws(RingError) -> Int32 {
  try KernelSockets.listener(at: address, backlog: SOMAXCONN)
}

enum KernelSockets {
  static func listener(at address: SocketAddress, backlog: Int32) throws(RingError) -> Int32 {
    guard let memory = SocketAddressMemory(address) else {
      throw .cannotListen(address, errno: ENAMETOOLONG)
    }
    let descriptor = socket(memory.family, streamType, 0)
    guard descriptor >= 0 else { throw .cannotListen(address, errno: errno) }
    if memory.family != AF_UNIX { enable(SO_REUSEADDR, at: SOL_SOCKET, descriptor) }
    removeIfAbandoned(memory)
    guard unsafe bind(descriptor, memory.pointer, memory.length) == 0, listen(descriptor, backlog) == 0 else {
      let number = errno
      _ = Glibc.close(descriptor)
      throw .cannotListen(address, errno: number)
    }
    return descriptor
  }

  /// A process that was killed leaves its Unix socket behind, and nobody could bind there again. One that
  /// refuses connections has no owner any more; anything else at that path stays.
  private static func removeIfAbandoned(_ memory: SocketAddressMemory) {
    guard case .unix(let path) = memory.address else { return }
    let probe = socket(AF_UNIX, streamType | nonBlockingFlag, 0)
    guard probe >= 0 else { return }
    defer { _ = Glibc.close(probe) }
    if unsafe connect(probe, memory.pointer, memory.length) != 0, errno == ECONNREFUSED {
      _ = unsafe unlink(path)
    }
  }

  /// A socket for a connection; its type flags beside `SOCK_CLOEXEC` are the driver's.
  static func stream(towards address: SocketAddress, nonBlocking: Bool) throws(RingError) -> Int32 {
    let family =
      switch address {
      case .ip4: AF_INET
      case .ip6: AF_INET6
      case .unix: AF_UNIX
      }
    let descriptor = socket(family, nonBlocking ? streamType | nonBlockingFlag : streamType, 0)
    guard descriptor >= 0 else { throw .connectFailed(address, errno: errno) }
    if family != AF_UNIX { prepareStream(descriptor) }
    return descriptor
  }

  /// Checks that `descriptor` listens and gives it the options that accepted sockets inherit.
  static func prepareListener(_ descriptor: Int32, nonBlocking: Bool) throws(RingError) {
    var listening: Int32 = 0
    var length = socklen_t(MemoryLayout<Int32>.size)
    guard unsafe getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) == 0, listening == 1
    else { throw .notListening(descriptor: descriptor, errno: listening == 0 ? EINVAL : errno) }
    if case .unix = localAddress(of: descriptor) {
    } else {
      prepareStream(descriptor)
    }
    let flags = fcntl(descriptor, F_GETFL)
    _ = fcntl(descriptor, F_SETFL, nonBlocking ? flags | O_NONBLOCK : flags & ~O_NONBLOCK)
  }

  static func localAddress(of descriptor: Int32) -> SocketAddress? {
    unsafe SocketAddress { unsafe getsockname(descriptor, $0, $1) }
  }

  static func peerAddress(of descriptor: Int32) -> SocketAddress? {
    unsafe SocketAddress { unsafe getpeername(descriptor, $0, $1) }
  }

  /// The result of a connect that went on in the background; 0 when it succeeded.
  static func pendingError(of descriptor: Int32) -> Int32 {
    var number: Int32 = 0
    var length = socklen_t(MemoryLayout<Int32>.size)
    guard unsafe getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &number, &length) == 0 else { return errno }
    return number
  }

  static func finishSending(_ descriptor: Int32) { _ = shutdown(descriptor, Int32(SHUT_WR)) }

  static var monotonicTime: Instant {
    Instant(nanoseconds: linux_clock_nanoseconds(CLOCK_MONOTONIC))
  }

  static var wallClock: Timestamp {
    let nanoseconds = linux_clock_nanoseconds(CLOCK_REALTIME)
    return Timestamp(
      seconds: nanoseconds / 1_000_000_000, nanoseconds: Int32(nanoseconds % 1_000_000_000))
  }

  private static let streamType = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
  private static let nonBlockingFlag = Int32(SOCK_NONBLOCK.rawValue)

  /// Small writes go at once, and the kernel asks a silent peer whether it is still there: a cut link or a host
  /// that lost power is noticed within a minute, also where the protocol above may not ask that often.
  private static func prepareStream(_ descriptor: Int32) {
    enable(TCP_NODELAY, at: Int32(IPPROTO_TCP), descriptor)
    enable(SO_KEEPALIVE, at: SOL_SOCKET, descriptor)
    set(TCP_KEEPIDLE, at: Int32(IPPROTO_TCP), to: probeAfter, descriptor)
    set(TCP_KEEPINTVL, at: Int32(IPPROTO_TCP), to: probeInterval, descriptor)
    set(TCP_KEEPCNT, at: Int32(IPPROTO_TCP), to: probesMost, descriptor)
  }

  /// Silence before the first probe. Unit: seconds.
  static let probeAfter: Int32 = 30
  /// Between probes that are not answered. Unit: seconds.
  static let probeInterval: Int32 = 10
  /// Probes without an answer that end a connection.
  static let probesMost: Int32 = 3

  private static func enable(_ option: Int32, at level: Int32, _ descriptor: Int32) {
    set(option, at: level, to: 1, descriptor)
  }

  private static func set(_ option: Int32, at level: Int32, to value: Int32, _ descriptor: Int32) {
    var value = value
    unsafe setsockopt(descriptor, level, option, &value, socklen_t(MemoryLayout<Int32>.size))
  }
}
