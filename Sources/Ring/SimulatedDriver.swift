// The simulated driver: one loop's view of a `SimulatedNetwork`. Same promises as the kernel's drivers, no
// kernel.
//
// Below `EventLoop`. It never waits: the network gives its loop a turn when something is ready, or due.

import Glibc
public import Primitives
import Synchronization

/// One loop of one simulated host.
@safe
public final class SimulatedDriver: Driver {
  public let kind = DriverKind.simulated
  public let fallbackReason: RingError? = nil
  /// The host this loop runs on.
  public let host: String

  static let refused = ECONNREFUSED
  static let noRoute = ENETUNREACH

  private let network: SimulatedNetwork
  private weak var loop: EventLoop?
  private let wakeFlag = WakeFlag()
  private var sockets: [Int32: SimulatedSocket] = [:]
  private var listeners: [Int32: SimulatedListener] = [:]
  private var watched: [Int32: OperationToken] = [:]
  /// What completed, in order.
  private var ready: [Completion] = []
  /// Sockets with something to receive, in order.
  private var readable: [SimulatedSocket] = []
  private var batch: [Completion] = []
  /// Bytes of the current batch; freed by the next `wait`.
  private var pieces = Pieces()
  private var exposed = unsafe UnsafeMutableBufferPointer<Completion>(start: nil, count: 0)
  private var isTurnScheduled = false
  private var hasCrashed = false

  /// Bytes of one receive, at most; like the kernel drivers' buffers.
  private static let pieceBytes = 17 * 1024

  /// Memory of received bytes.
  @safe
  private struct Pieces {
    private var all: [UnsafeMutableRawBufferPointer] = unsafe []

    /// A copy of `bytes`, which are not empty, at an address that stays until `free`.
    mutating func copy(_ bytes: ArraySlice<UInt8>) -> UnsafeRawPointer {
      let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 16)
      unsafe piece.copyBytes(from: bytes)
      unsafe all.append(piece)
      guard let start = piece.baseAddress else { preconditionFailure("a piece of no bytes") }
      return UnsafeRawPointer(start)
    }

    mutating func free() {
      for index in unsafe all.indices { unsafe all[index].deallocate() }
      unsafe all.removeAll(keepingCapacity: true)
    }
  }

  private final class WakeFlag: Sendable {
    let isSet = Atomic<Bool>(false)
  }

  /// A driver for a loop on `host`. The loop made with it is run by `network.step()`.
  public init(network: SimulatedNetwork, host: String) {
    self.network = network
    self.host = host
    network.register(self)
  }

  deinit {
    pieces.free()
    unsafe exposed.deallocate()
  }

  public func attach(_ loop: EventLoop) { self.loop = loop }

  public var waker: Waker {
    let flag = wakeFlag
    return { flag.isSet.store(true, ordering: .releasing) }
  }

  public var monotonicTime: Instant { network.now }
  public var wallClock: Timestamp { network.wallClock(of: host) }

  // MARK: for the network

  /// When the loop has something to do that no event of the network announces.
  var nextDeadline: Instant? {
    guard let loop else { return nil }
    if wakeFlag.isSet.load(ordering: .acquiring) { return network.now }
    return loop.nextDeadline.map { max($0, network.now) }
  }

  func turn() {
    isTurnScheduled = false
    loop?.turn(waitingAtMost: .zero)
  }

  func clockMoved(_ now: Instant) { loop?.now = now }

  /// Stops for good; returns the sockets that were open, lowest descriptor first.
  func crash() -> [SimulatedSocket] {
    hasCrashed = true
    loop?.abandon()
    loop = nil
    let open = sockets.keys.sorted().compactMap { sockets[$0] }
    for socket in open { socket.forgetOperations() }
    sockets = [:]
    listeners = [:]
    readable = []
    ready = []
    return open
  }

  func connectAnswered(_ socket: SimulatedSocket, _ number: Int32) {
    // Closed while connecting: nobody waits for the answer.
    guard let token = socket.connect else { return }
    socket.connect = nil
    if number == 0 { socket.life = .connected }
    complete(Completion(token, -number))
  }

  func connectionArrived(_ listener: SimulatedListener) {
    guard let token = listener.accept else { return }
    for socket in listener.waiting {
      sockets[socket.descriptor] = socket
      complete(Completion(token, socket.descriptor, more: true))
    }
    listener.waiting = []
  }

  func inputArrived(_ socket: SimulatedSocket) {
    if socket.wasReset, socket.send != nil { finishSend(socket, -ECONNRESET) }
    guard socket.isReadable, !readable.contains(where: { $0 === socket }) else { return }
    readable.append(socket)
    scheduleTurn()
  }

  /// Room opened at the peer.
  func roomArrived(_ socket: SimulatedSocket) {
    guard socket.send != nil else { return }
    trySend(socket)
  }

  // MARK: completions

  /// Never waits. The result is what is ready now.
  public func wait(until deadline: Instant?) -> UnsafeBufferPointer<Completion> {
    pieces.free()
    batch.removeAll(keepingCapacity: true)
    if wakeFlag.isSet.exchange(false, ordering: .acquiringAndReleasing) {
      batch.append(Completion(OperationToken(.wake), 0, more: true))
    }
    batch += ready
    ready = []
    let sockets = readable
    readable = []
    for socket in sockets { receiveSome(socket) }
    for completion in batch {
      network.note(5, completion.token.bits, UInt64(UInt32(bitPattern: completion.result)))
    }
    return unsafe expose()
  }

  /// The batch at an address that stays until the next `wait`.
  private func expose() -> UnsafeBufferPointer<Completion> {
    if unsafe exposed.count < batch.count {
      unsafe exposed.deallocate()
      unsafe exposed = .allocate(capacity: batch.count * 2)
    }
    for (index, completion) in batch.enumerated() {
      unsafe exposed.initializeElement(at: index, to: completion)
    }
    return unsafe UnsafeBufferPointer(rebasing: exposed[..<batch.count])
  }

  private func receiveSome(_ socket: SimulatedSocket) {
    guard let token = socket.receive else { return }
    if socket.wasReset {
      socket.receive = nil
      batch.append(Completion(token, -ECONNRESET))
    } else if !socket.unread.isEmpty {
      let most = min(socket.unread.count, SimulatedDriver.pieceBytes)
      let count = splits(socket) ? Int.random(in: 1...most, using: &network.generator) : most
      let start = unsafe pieces.copy(socket.unread.prefix(count))
      unsafe batch.append(Completion(token, received: Int32(count), at: start, more: true))
      socket.unread.removeFirst(count)
      socket.pendingBytes -= count
      if let peer = socket.peer { peer.driver.roomArrived(peer) }
      inputArrived(socket)
    } else if socket.hasEnded {
      socket.receive = nil
      batch.append(Completion(token, 0))
    }
  }

  private func splits(_ socket: SimulatedSocket) -> Bool {
    guard let from = socket.peer?.driver.host else { return false }
    return network.conditions(from: from, to: host).splitsReads
  }

  private func complete(_ completion: Completion) {
    guard !hasCrashed else { return }
    ready.append(completion)
    scheduleTurn()
  }

  private func scheduleTurn() {
    guard !isTurnScheduled, !hasCrashed else { return }
    isTurnScheduled = true
    network.scheduleTurn(self)
  }

  // MARK: sockets

  public func shutDown() {
    guard !hasCrashed else { return }
    for descriptor in listeners.keys.sorted() { close(descriptor) }
    network.remove(self)
  }

  public func openSocket(towards address: SocketAddress) throws(RingError) -> Int32 {
    let descriptor = network.takeDescriptor()
    let local =
      address.isLoopback
      ? address.withPort(network.takePort(host))
      : network.address(of: host, port: network.takePort(host))
    sockets[descriptor] = SimulatedSocket(descriptor, self, local: local, remote: address)
    return descriptor
  }

  public func openListener(at address: SocketAddress, backlog: Int32) throws(RingError) -> Int32 {
    let bound = address.port == 0 ? address.withPort(network.takePort(host)) : address
    let listener = SimulatedListener(network.takeDescriptor(), self, address: bound)
    guard network.add(listener) else { throw .cannotListen(address, errno: EADDRINUSE) }
    listeners[listener.descriptor] = listener
    return listener.descriptor
  }

  public func adoptListener(_ descriptor: Int32) throws(RingError) {
    guard listeners[descriptor] != nil else { throw .notListening(descriptor: descriptor, errno: EBADF) }
  }

  public func localAddress(of descriptor: Int32) -> SocketAddress? {
    listeners[descriptor]?.address ?? sockets[descriptor]?.local
  }

  public func peerAddress(of descriptor: Int32) -> SocketAddress? { sockets[descriptor]?.remote }

  public func finishSending(_ descriptor: Int32) {
    guard let socket = sockets[descriptor], !socket.hasFinished else { return }
    socket.hasFinished = true
    if let peer = socket.peer { network.transmit(.end, to: peer) }
  }

  public func close(_ descriptor: Int32) {
    watched[descriptor] = nil
    if let listener = listeners.removeValue(forKey: descriptor) {
      network.remove(listener)
    } else if let socket = sockets.removeValue(forKey: descriptor) {
      readable.removeAll { $0 === socket }
      socket.forgetOperations()
      network.closed(socket)
    }
  }

  // MARK: operations

  public func accept(_ descriptor: Int32, _ token: OperationToken) {
    guard let listener = listeners[descriptor] else { return }
    listener.accept = token
    connectionArrived(listener)
  }

  public func receive(_ descriptor: Int32, _ token: OperationToken) {
    guard let socket = sockets[descriptor] else { return }
    socket.receive = token
    inputArrived(socket)
  }

  public func send(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer, _ token: OperationToken) {
    guard let socket = sockets[descriptor] else { return }
    socket.send = token
    unsafe socket.sendBytes = bytes
    trySend(socket)
  }

  private func trySend(_ socket: SimulatedSocket) {
    guard let peer = socket.peer, !socket.wasReset else { return finishSend(socket, -EPIPE) }
    let link = network.conditions(from: host, to: peer.driver.host)
    let room = link.windowBytes - peer.pendingBytes
    // Without room the send waits for `roomArrived`, or for a reset.
    guard room > 0 else { return }
    var count = unsafe min(room, socket.sendBytes.count)
    if link.shortensWrites { count = Int.random(in: 1...count, using: &network.generator) }
    network.transmit(.bytes(unsafe Array(socket.sendBytes.prefix(count))), to: peer)
    finishSend(socket, Int32(count))
  }

  private func finishSend(_ socket: SimulatedSocket, _ result: Int32) {
    guard let token = socket.send else { return }
    socket.send = nil
    unsafe socket.sendBytes = UnsafeRawBufferPointer(start: nil, count: 0)
    complete(Completion(token, result))
  }

  public func connect(_ descriptor: Int32, _ address: SocketAddressMemory, _ token: OperationToken) {
    guard let socket = sockets[descriptor] else { return }
    socket.connect = token
    network.dial(socket, address.address)
  }

  public func pollReadable(_ descriptor: Int32, _ token: OperationToken) { watched[descriptor] = token }

  /// Has the handler of a watched descriptor called: the simulation has no descriptors that become readable
  /// by themselves.
  public func makeReadable(_ descriptor: Int32) {
    guard let token = watched.removeValue(forKey: descriptor) else { return }
    complete(Completion(token, 0))
  }

  /// What `makeReadable` can be called for, lowest first.
  public var watchedDescriptors: [Int32] { watched.keys.sorted() }

  public func cancel(_ token: OperationToken, on descriptor: Int32) {
    if let socket = sockets[descriptor] {
      cancel(token, &socket.receive)
      cancel(token, &socket.connect)
      if socket.send == token { finishSend(socket, -ECANCELED) }
    } else if let listener = listeners[descriptor] {
      cancel(token, &listener.accept)
    } else if watched[descriptor] == token {
      watched[descriptor] = nil
      complete(Completion(token, -ECANCELED))
    }
  }

  private func cancel(_ token: OperationToken, _ armed: inout OperationToken?) {
    guard armed == token else { return }
    armed = nil
    complete(Completion(token, -ECANCELED))
  }
}
