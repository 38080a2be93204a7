// What an `EventLoop` asks of a kernel, real or simulated, and the small values that cross between them.
//
//   EventLoop ── operations with a token ──► Driver ── completions with that token ──► EventLoop
//
// io_uring, epoll and the simulator conform. A driver knows descriptors, buffers and tokens, but no
// socket life: that is the loop's. It never calls a handler.

import Glibc
public import Primitives

/// Which kernel interface a loop runs on.
public enum DriverKind: String, Sendable, CaseIterable {
  case ioURing = "io_uring"
  case epoll
  case simulated
}

/// The name of one operation in flight: what it is, and the table row and generation it belongs to. It
/// travels through the kernel as 64 bits, because a bare descriptor number may be reused while old
/// completions wait.
public struct OperationToken: Hashable, Sendable {
  /// What completes. `none` is an operation whose end interests nobody.
  enum Kind: UInt64 {
    case none = 0
    case wake = 1
    case accept = 2
    case watch = 3
    case connect = 4
    case receive = 5
    case send = 6
  }

  /// Bits 60…63 kind, 32…59 generation, 0…31 slot.
  let bits: UInt64

  init(bits: UInt64) { self.bits = bits }

  init(_ kind: Kind, slot: UInt32 = 0, generation: UInt32 = 0) {
    bits = kind.rawValue << 60 | UInt64(generation & OperationToken.generationMask) << 32 | UInt64(slot)
  }

  /// Generations have 28 bits.
  static let generationMask: UInt32 = 0x0FFF_FFFF

  var kind: Kind { Kind(rawValue: bits >> 60) ?? .none }
  var generation: UInt32 { UInt32(truncatingIfNeeded: bits >> 32) & OperationToken.generationMask }
  var slot: UInt32 { UInt32(truncatingIfNeeded: bits) }
}

/// One step or the end of an operation. Plain bits: moving it costs no reference counting.
@safe
public struct Completion {
  let token: OperationToken
  /// Bytes, a descriptor, or 0; a negated `errno` when it failed.
  let result: Int32
  /// The operation goes on and will complete again. When false it has ended and its memory is free.
  let more: Bool
  /// Received bytes, `result` of them; the driver's, until the next `wait`.
  let bytes: UnsafeRawPointer?

  init(_ token: OperationToken, _ result: Int32, more: Bool = false) {
    self.token = token
    self.result = result
    self.more = more
    unsafe bytes = nil
  }

  init(_ token: OperationToken, received count: Int32, at bytes: UnsafeRawPointer, more: Bool) {
    self.token = token
    result = count
    self.more = more
    unsafe self.bytes = bytes
  }
}

/// The kernel's side of an event loop. All calls come from the loop's thread. Operations complete in later
/// `wait` calls only, never within the call that started them.
public protocol Driver: AnyObject {
  var kind: DriverKind { get }
  /// Why io_uring was not used, when this driver stands in for it.
  var fallbackReason: RingError? { get }
  /// Callable from any thread. Makes `wait` return with one wake completion; calls before it coalesce.
  var waker: Waker { get }
  var monotonicTime: Instant { get }
  var wallClock: Timestamp { get }

  /// Called once by the loop that will gather the completions.
  func attach(_ loop: EventLoop)
  /// Hands the collected operations to the kernel and waits for completions, at most until `deadline` (nil:
  /// without end). The result may be empty and is valid until the next call.
  func wait(until deadline: Instant?) -> UnsafeBufferPointer<Completion>
  /// Cancels everything and returns when the kernel holds no memory of ours any more.
  func shutDown()

  /// A new socket for a connection to `address`.
  func openSocket(towards address: SocketAddress) throws(RingError) -> Int32
  /// A new socket, bound and listening.
  func openListener(at address: SocketAddress, backlog: Int32) throws(RingError) -> Int32
  /// Prepares a socket that listens already.
  func adoptListener(_ descriptor: Int32) throws(RingError)
  func localAddress(of descriptor: Int32) -> SocketAddress?
  func peerAddress(of descriptor: Int32) -> SocketAddress?
  /// Half-closes: the peer reads an end after the bytes sent so far.
  func finishSending(_ descriptor: Int32)
  /// Closes a descriptor that has no operation in flight.
  func close(_ descriptor: Int32)

  /// Each new connection completes it once more, with its descriptor as result.
  func accept(_ descriptor: Int32, _ token: OperationToken)
  /// Each run of bytes completes it once more; result 0 without `more` is the peer's end.
  func receive(_ descriptor: Int32, _ token: OperationToken)
  /// Completes with how many bytes were taken, at least one. `bytes` stay valid and unchanged until then.
  func send(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer, _ token: OperationToken)
  /// `address` stays alive until it completes.
  func connect(_ descriptor: Int32, _ address: SocketAddressMemory, _ token: OperationToken)
  /// Completes once, when reading from `descriptor` would not block.
  func pollReadable(_ descriptor: Int32, _ token: OperationToken)
  /// Asks for the early end of an operation. It then completes as usual: with its result when it was
  /// faster, else with -ECANCELED.
  func cancel(_ token: OperationToken, on descriptor: Int32)
}

/// The driver for this thread's loop. Call it on that thread: a ring serves the thread that made it.
///
/// With nil: io_uring, or epoll where io_uring cannot be had; `fallbackReason` then says why.
/// Throws when a named choice cannot be had, and for `.simulated`, which needs a `SimulatedNetwork`.
public func makeDriver(_ choice: DriverKind?) throws(RingError) -> any Driver {
  switch choice {
  case .ioURing:
    return try IOURingDriver()
  case .epoll:
    return try EpollDriver()
  case .simulated:
    throw .resourceRefused(call: "A simulated driver outside of a simulated network", errno: EINVAL)
  case nil:
    do throws(RingError) {
      return try IOURingDriver()
    } catch {
      return try EpollDriver(fallbackReason: error)
    }
  }
}
