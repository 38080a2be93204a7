// The io_uring driver: multishot accept and receive with provided buffers, batched submission, one system
// call per turn of the loop.
//
// Below `EventLoop`, above `RingMemory`. Everything the kernel holds a pointer into (buffers, addresses,
// the time-out, the wake counter) lives at a stable address until the operation has completed. Sockets are
// blocking on purpose: io_uring answers EAGAIN at once for non-blocking ones instead of waiting itself.

import CLiburing
import Glibc
import Primitives

/// How large a ring is. Defaults fit a serve loop with ten thousand clients.
struct RingSizes {
  /// Operations handed over per system call.
  var entries: UInt32 = 1024
  /// Completions remembered; multishot operations complete often, so more than `entries`.
  var completions: UInt32 = 8192
  /// Receive buffers; a power of two.
  var buffers = 512
  /// One receive buffer in bytes: a full TLS record and its header fit.
  var bufferBytes = 17 * 1024

  /// Completions handled per turn.
  static let batchMost = 256
}

@safe
final class IOURingDriver: Driver {
  let kind = DriverKind.ioURing
  let fallbackReason: RingError? = nil

  private let memory: RingMemory
  private let buffers: ReceiveBuffers
  private let wakeSignal: WakeSignal
  private let batch: UnsafeMutablePointer<Completion>
  private let entries: UnsafeMutablePointer<UnsafeMutablePointer<io_uring_cqe>?>
  private let timeout: UnsafeMutablePointer<__kernel_timespec>
  /// What the eventfd's counter is read into; its value means nothing.
  private let wakeCounter: UnsafeMutableRawBufferPointer
  private var isShutDown = false

  /// Throws why io_uring cannot carry a loop here. To be called on the loop's thread.
  init(sizes: RingSizes = RingSizes()) throws(RingError) {
    let features = RingFeatures.probe()
    if let reason = features.reason { throw reason }
    memory = try IOURingDriver.makeRing(sizes)
    buffers = try ReceiveBuffers(ring: memory, count: sizes.buffers, bytesEach: sizes.bufferBytes)
    wakeSignal = try WakeSignal(nonBlocking: false)
    unsafe batch = .allocate(capacity: RingSizes.batchMost)
    unsafe entries = .allocate(capacity: RingSizes.batchMost)
    unsafe entries.initialize(repeating: nil, count: RingSizes.batchMost)
    unsafe timeout = .allocate(capacity: 1)
    unsafe timeout.initialize(to: __kernel_timespec())
    unsafe wakeCounter = .allocate(byteCount: MemoryLayout<UInt64>.size, alignment: 8)
    armWake()
  }

  /// A small limit on locked memory still allows a small ring.
  private static func makeRing(_ sizes: RingSizes) throws(RingError) -> RingMemory {
    do throws(RingError) {
      return try RingMemory(entries: sizes.entries, completions: sizes.completions)
    } catch {
      guard error == .ringRefused(errno: ENOMEM) else { throw error }
      return try RingMemory(entries: min(sizes.entries, 128), completions: min(sizes.completions, 512))
    }
  }

  deinit {
    shutDown()
    unsafe batch.deallocate()
    unsafe entries.deallocate()
    unsafe timeout.deallocate()
    unsafe wakeCounter.deallocate()
  }

  func shutDown() {
    guard !isShutDown else { return }
    isShutDown = true
    memory.cancelEverything()
  }

  func attach(_ loop: EventLoop) {}

  var waker: Waker { wakeSignal.waker }
  var monotonicTime: Instant { KernelSockets.monotonicTime }
  var wallClock: Timestamp { KernelSockets.wallClock }

  // MARK: completions

  func wait(until deadline: Instant?) -> UnsafeBufferPointer<Completion> {
    buffers.giveBack()
    enter(until: deadline)
    let taken = Int(unsafe io_uring_peek_batch_cqe(memory.ring, entries, UInt32(RingSizes.batchMost)))
    var count = 0
    for index in 0..<taken {
      guard let entry = unsafe entries[index] else { continue }
      let token = unsafe OperationToken(bits: entry.pointee.user_data)
      if token.kind == .none { continue }
      if token.kind == .wake {
        wakeSignal.acknowledge()
        armWake()
      }
      unsafe (batch + count).initialize(to: completion(token, entry.pointee.res, entry.pointee.flags))
      count += 1
    }
    unsafe io_uring_cq_advance(memory.ring, UInt32(taken))
    return unsafe UnsafeBufferPointer(start: batch, count: count)
  }

  private func completion(_ token: OperationToken, _ result: Int32, _ flags: UInt32) -> Completion {
    let more = flags & UInt32(IORING_CQE_F_MORE) != 0
    guard flags & UInt32(IORING_CQE_F_BUFFER) != 0 else { return Completion(token, result, more: more) }
    let index = UInt16(truncatingIfNeeded: flags >> UInt32(IORING_CQE_BUFFER_SHIFT))
    return unsafe Completion(token, received: result, at: buffers.take(index), more: more)
  }

  /// One system call: submits what was collected and waits unless completions are there already.
  private func enter(until deadline: Instant?) {
    let ring = unsafe memory.ring
    let answer: Int32
    if unsafe io_uring_cq_ready(ring) > 0 {
      answer = unsafe io_uring_submit_and_get_events(ring)
    } else if let deadline {
      let left = (deadline - monotonicTime).inNanoseconds
      if left <= 0 {
        answer = unsafe io_uring_submit_and_get_events(ring)
      } else {
        unsafe timeout.pointee.tv_sec = left / 1_000_000_000
        unsafe timeout.pointee.tv_nsec = left % 1_000_000_000
        var first: UnsafeMutablePointer<io_uring_cqe>?
        answer = unsafe io_uring_submit_and_wait_timeout(ring, &first, 1, timeout, nil)
      }
    } else {
      answer = unsafe io_uring_submit_and_wait(ring, 1)
    }
    switch -answer {
    case ...0, ETIME, EINTR: break
    // Out of memory or of completion room for now: the completions gathered next make some.
    case EAGAIN, EBUSY: break
    default: preconditionFailure("io_uring_enter failed (\(errnoName(-answer))): the ring is used wrongly")
    }
  }

  private func armWake() {
    unsafe memory.prepareRead(wakeSignal.descriptor, into: wakeCounter, OperationToken(.wake))
  }

  // MARK: sockets

  func openSocket(towards address: SocketAddress) throws(RingError) -> Int32 {
    try KernelSockets.stream(towards: address, nonBlocking: false)
  }

  func openListener(at address: SocketAddress, backlog: Int32) throws(RingError) -> Int32 {
    try KernelSockets.listener(at: address, backlog: backlog)
  }

  func adoptListener(_ descriptor: Int32) throws(RingError) {
    try KernelSockets.prepareListener(descriptor, nonBlocking: false)
  }

  func localAddress(of descriptor: Int32) -> SocketAddress? { KernelSockets.localAddress(of: descriptor) }
  func peerAddress(of descriptor: Int32) -> SocketAddress? { KernelSockets.peerAddress(of: descriptor) }
  func finishSending(_ descriptor: Int32) { KernelSockets.finishSending(descriptor) }
  func close(_ descriptor: Int32) { _ = Glibc.close(descriptor) }

  // MARK: operations

  func accept(_ descriptor: Int32, _ token: OperationToken) { memory.prepareAccept(descriptor, token) }
  func receive(_ descriptor: Int32, _ token: OperationToken) { memory.prepareReceive(descriptor, token) }
  func send(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer, _ token: OperationToken) {
    unsafe memory.prepareSend(descriptor, bytes, token)
  }
  func connect(_ descriptor: Int32, _ address: SocketAddressMemory, _ token: OperationToken) {
    memory.prepareConnect(descriptor, address, token)
  }
  func pollReadable(_ descriptor: Int32, _ token: OperationToken) {
    memory.preparePollReadable(descriptor, token)
  }
  func cancel(_ token: OperationToken, on descriptor: Int32) { memory.prepareCancel(token) }
}
