// The epoll driver: for kernels before 6.0 and for containers, whose default seccomp profiles forbid
// io_uring.
//
// Below `EventLoop`, as complete as the io_uring driver and with the same promises. Level-triggered: a
// descriptor is registered while an operation on it is armed, sends are tried at once and wait for room
// only when they must. Receive buffers are the driver's and live for one batch. Sockets are non-blocking.
// epoll(7).

import CLinux
import Glibc
import Primitives

@safe
final class EpollDriver: Driver {
  let kind = DriverKind.epoll
  let fallbackReason: RingError?

  /// Events gathered per turn.
  private static let eventsMost = 256
  /// Completions per turn: each event may make two; the rest is for results known at once and for accepts.
  private static let batchMost = 2048
  /// Results known at once that one turn hands out.
  private static let readyMost = 512
  /// Connections taken per turn from one listener, so that others get their turn.
  private static let acceptsMost = 16
  /// One receive in bytes: a full TLS record and its header fit.
  private static let bufferBytes = 17 * 1024

  private let epoll: Int32
  private let wakeSignal: WakeSignal
  private let events: UnsafeMutablePointer<epoll_event>
  private let batch: UnsafeMutablePointer<Completion>
  private var count = 0
  private let buffers: UnsafeMutableRawPointer
  private var buffersUsed = 0
  /// By descriptor.
  private var interests: [Interest] = []
  /// Descriptors whose registration may differ from what is armed.
  private var changed: [Int32] = []
  /// Results that were known without waiting, for the next `wait`.
  private var ready: [Completion] = []

  /// What is armed on one descriptor: at most one operation that waits for input and one for room.
  @safe
  private struct Interest {
    static let nothing = OperationToken(.none)
    var input = nothing
    var output = nothing
    /// What the send in `output` sends.
    var bytes: UnsafeRawBufferPointer?
    /// The event mask epoll knows; 0: not registered.
    var registered: UInt32 = 0
    var isChanged = false

    var wanted: UInt32 {
      let waitsForInput = input.kind != .none
      // One of several loops that share a listener is woken, not all.
      let exclusive = input.kind == .accept ? EPOLLEXCLUSIVE.rawValue : 0
      return (waitsForInput ? EPOLLIN.rawValue | exclusive : 0)
        | (output.kind != .none ? EPOLLOUT.rawValue : 0)
    }
  }

  init(fallbackReason: RingError? = nil) throws(RingError) {
    self.fallbackReason = fallbackReason
    let signal = try WakeSignal(nonBlocking: true)
    let descriptor = epoll_create1(Int32(EPOLL_CLOEXEC))
    guard descriptor >= 0 else { throw .resourceRefused(call: "epoll_create1", errno: errno) }
    epoll = descriptor
    wakeSignal = signal
    unsafe events = .allocate(capacity: EpollDriver.eventsMost)
    unsafe events.initialize(repeating: epoll_event(), count: EpollDriver.eventsMost)
    unsafe batch = .allocate(capacity: EpollDriver.batchMost)
    unsafe buffers = .allocate(byteCount: EpollDriver.eventsMost * EpollDriver.bufferBytes, alignment: 4096)
    arm(input: OperationToken(.wake), on: wakeSignal.descriptor)
  }

  deinit {
    _ = Glibc.close(epoll)
    unsafe events.deallocate()
    unsafe batch.deallocate()
    unsafe buffers.deallocate()
  }

  /// The kernel holds no memory of ours between calls.
  func shutDown() {}

  func attach(_ loop: EventLoop) {}

  var waker: Waker { wakeSignal.waker }
  var monotonicTime: Instant { KernelSockets.monotonicTime }
  var wallClock: Timestamp { KernelSockets.wallClock }

  // MARK: waiting

  func wait(until deadline: Instant?) -> UnsafeBufferPointer<Completion> {
    count = 0
    buffersUsed = 0
    registerChanges()
    handOutReady()
    let room = EpollDriver.batchMost - count
    let most = Int32(min(EpollDriver.eventsMost, room / 2))
    let found = unsafe epoll_wait(
      epoll, events, most, ready.isEmpty && count == 0 ? milliseconds(deadline) : 0)
    precondition(found >= 0 || errno == EINTR, "epoll_wait failed: the epoll descriptor is used wrongly")
    for index in 0..<max(Int(found), 0) {
      let event = unsafe events[index]
      unsafe handle(descriptor: event.data.fd, mask: event.events)
    }
    return unsafe UnsafeBufferPointer(start: batch, count: count)
  }

  /// Rounded up: waking a little late is right, waking early would spin.
  private func milliseconds(_ deadline: Instant?) -> Int32 {
    guard let deadline else { return -1 }
    let left = (deadline - monotonicTime).inNanoseconds
    guard left > 0 else { return 0 }
    return Int32(min((left - 1) / 1_000_000 + 1, 86_400_000))
  }

  private func handOutReady() {
    let some = min(ready.count, EpollDriver.readyMost)
    guard some > 0 else { return }
    for index in 0..<some { emit(ready[index]) }
    ready.removeFirst(some)
  }

  private func emit(_ completion: Completion) {
    unsafe (batch + count).initialize(to: completion)
    count += 1
  }

  private func handle(descriptor: Int32, mask: UInt32) {
    let failed = EPOLLERR.rawValue | EPOLLHUP.rawValue
    if mask & (EPOLLIN.rawValue | failed) != 0 { inputReady(descriptor) }
    if mask & (EPOLLOUT.rawValue | failed) != 0 { outputReady(descriptor) }
  }

  private func inputReady(_ descriptor: Int32) {
    let token = interests[Int(descriptor)].input
    switch token.kind {
    case .receive: receiveSome(descriptor, token)
    case .accept: acceptSome(descriptor, token)
    case .watch:
      disarmInput(descriptor)
      emit(Completion(token, 0))
    case .wake:
      var counter: UInt64 = 0
      _ = unsafe Glibc.read(descriptor, &counter, MemoryLayout<UInt64>.size)
      wakeSignal.acknowledge()
      emit(Completion(token, 0, more: true))
    case .none, .connect, .send: break
    }
  }

  private func receiveSome(_ descriptor: Int32, _ token: OperationToken) {
    let buffer = unsafe buffers + buffersUsed * EpollDriver.bufferBytes
    let read = unsafe Glibc.recv(descriptor, buffer, EpollDriver.bufferBytes, 0)
    if read > 0 {
      buffersUsed += 1
      return unsafe emit(Completion(token, received: Int32(read), at: UnsafeRawPointer(buffer), more: true))
    }
    let number = read == 0 ? 0 : errno
    guard number != EAGAIN, number != EINTR else { return }
    disarmInput(descriptor)
    emit(Completion(token, -number))
  }

  private func acceptSome(_ descriptor: Int32, _ token: OperationToken) {
    for _ in 0..<EpollDriver.acceptsMost where count < EpollDriver.batchMost - 2 * EpollDriver.eventsMost {
      let accepted = linux_accept4(descriptor, Int32(SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue))
      if accepted >= 0 {
        emit(Completion(token, accepted, more: true))
        continue
      }
      let number = errno
      if number == EAGAIN { return }
      disarmInput(descriptor)
      return emit(Completion(token, -number))
    }
  }

  private func outputReady(_ descriptor: Int32) {
    let interest = interests[Int(descriptor)]
    switch interest.output.kind {
    case .send:
      guard let bytes = unsafe interest.bytes, let result = unsafe sendSome(descriptor, bytes) else { return }
      disarmOutput(descriptor)
      emit(Completion(interest.output, result))
    case .connect:
      disarmOutput(descriptor)
      emit(Completion(interest.output, -KernelSockets.pendingError(of: descriptor)))
    case .none, .wake, .accept, .watch, .receive: break
    }
  }

  /// Bytes taken or a negated errno; nil when there is no room.
  private func sendSome(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer) -> Int32? {
    while true {
      let most = min(bytes.count, 1 << 30)
      let sent = unsafe Glibc.send(descriptor, bytes.baseAddress, most, Int32(MSG_NOSIGNAL))
      if sent >= 0 { return Int32(sent) }
      switch errno {
      case EINTR: continue
      case EAGAIN: return nil
      case let number: return -number
      }
    }
  }

  // MARK: registration

  private func arm(input token: OperationToken, on descriptor: Int32) {
    makeRoom(descriptor)
    interests[Int(descriptor)].input = token
    noteChange(descriptor)
  }

  private func arm(output token: OperationToken, _ bytes: UnsafeRawBufferPointer?, on descriptor: Int32) {
    makeRoom(descriptor)
    interests[Int(descriptor)].output = token
    unsafe interests[Int(descriptor)].bytes = unsafe bytes
    noteChange(descriptor)
  }

  private func disarmInput(_ descriptor: Int32) {
    interests[Int(descriptor)].input = Interest.nothing
    noteChange(descriptor)
  }

  private func disarmOutput(_ descriptor: Int32) {
    interests[Int(descriptor)].output = Interest.nothing
    unsafe interests[Int(descriptor)].bytes = nil
    noteChange(descriptor)
  }

  private func makeRoom(_ descriptor: Int32) {
    while interests.count <= Int(descriptor) { interests.append(Interest()) }
  }

  private func noteChange(_ descriptor: Int32) {
    guard !interests[Int(descriptor)].isChanged else { return }
    interests[Int(descriptor)].isChanged = true
    changed.append(descriptor)
  }

  /// Once per turn, so that an operation that ends and starts again within one costs no system call.
  private func registerChanges() {
    for descriptor in changed {
      interests[Int(descriptor)].isChanged = false
      register(descriptor)
    }
    changed.removeAll(keepingCapacity: true)
  }

  private func register(_ descriptor: Int32) {
    let interest = interests[Int(descriptor)]
    let wanted = interest.wanted
    guard wanted != interest.registered else { return }
    var known = interest.registered
    // A registration with EPOLLEXCLUSIVE cannot be changed, only made again. epoll_ctl(2).
    if known != 0, (known | wanted) & EPOLLEXCLUSIVE.rawValue != 0 || wanted == 0 {
      _ = epoll_ctl(epoll, EPOLL_CTL_DEL, descriptor, nil)
      known = 0
    }
    interests[Int(descriptor)].registered = wanted
    guard wanted != 0 else { return }
    var event = unsafe epoll_event()
    unsafe event.events = wanted
    unsafe event.data.fd = descriptor
    guard unsafe epoll_ctl(epoll, known == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, descriptor, &event) != 0
    else { return }
    refuse(descriptor, errno)
  }

  /// The kernel does not watch this descriptor: what is armed on it fails.
  private func refuse(_ descriptor: Int32, _ number: Int32) {
    let interest = interests[Int(descriptor)]
    interests[Int(descriptor)] = Interest()
    for token in [interest.input, interest.output] where token.kind != .none {
      ready.append(Completion(token, -number))
    }
  }

  // MARK: sockets

  func openSocket(towards address: SocketAddress) throws(RingError) -> Int32 {
    try KernelSockets.stream(towards: address, nonBlocking: true)
  }

  func openListener(at address: SocketAddress, backlog: Int32) throws(RingError) -> Int32 {
    try KernelSockets.listener(at: address, backlog: backlog)
  }

  func adoptListener(_ descriptor: Int32) throws(RingError) {
    try KernelSockets.prepareListener(descriptor, nonBlocking: true)
  }

  func localAddress(of descriptor: Int32) -> SocketAddress? { KernelSockets.localAddress(of: descriptor) }
  func peerAddress(of descriptor: Int32) -> SocketAddress? { KernelSockets.peerAddress(of: descriptor) }
  func finishSending(_ descriptor: Int32) { KernelSockets.finishSending(descriptor) }

  func close(_ descriptor: Int32) {
    if Int(descriptor) < interests.count {
      // A `dup` elsewhere would keep the registration alive beyond the close.
      interests[Int(descriptor)].input = Interest.nothing
      interests[Int(descriptor)].output = Interest.nothing
      register(descriptor)
    }
    _ = Glibc.close(descriptor)
  }

  // MARK: operations

  func accept(_ descriptor: Int32, _ token: OperationToken) { arm(input: token, on: descriptor) }
  func receive(_ descriptor: Int32, _ token: OperationToken) { arm(input: token, on: descriptor) }
  func pollReadable(_ descriptor: Int32, _ token: OperationToken) { arm(input: token, on: descriptor) }

  func send(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer, _ token: OperationToken) {
    if let result = unsafe sendSome(descriptor, bytes) {
      ready.append(Completion(token, result))
    } else {
      unsafe arm(output: token, bytes, on: descriptor)
    }
  }

  func connect(_ descriptor: Int32, _ address: SocketAddressMemory, _ token: OperationToken) {
    if unsafe Glibc.connect(descriptor, address.pointer, address.length) == 0 {
      return ready.append(Completion(token, 0))
    }
    let number = errno
    if number == EINPROGRESS || number == EINTR {
      unsafe arm(output: token, nil, on: descriptor)
    } else {
      ready.append(Completion(token, -number))
    }
  }

  /// The registration goes at once: the owner of a watched descriptor may close it after this.
  func cancel(_ token: OperationToken, on descriptor: Int32) {
    guard Int(descriptor) < interests.count else { return }
    if interests[Int(descriptor)].input == token {
      disarmInput(descriptor)
      ready.append(Completion(token, -ECANCELED))
    } else if interests[Int(descriptor)].output == token {
      disarmOutput(descriptor)
      ready.append(Completion(token, -ECANCELED))
    }
    register(descriptor)
  }
}
