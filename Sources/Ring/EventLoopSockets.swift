// A socket's life on a loop, in order: connect, receive, send, pause, fail, close.
//
// Death has named steps, because the kernel may hold buffers: refuse new work (`closing`), cancel, join
// completions (`joined`), close the descriptor, tell, free the row. A buffer in flight is owned by its row
// until the operation completed, whoever else has forgotten it.

import Glibc
public import Primitives

extension EventLoop {
  // MARK: connect

  /// Starts connecting; `handler` hears `socketConnected` or `socketFailed`, never within this call.
  public func connect(to address: SocketAddress, _ handler: any SocketHandler) -> SocketID {
    let memory = SocketAddressMemory(address)
    let attachment = SocketAttachment(handler, target: memory)
    counters.opened &+= 1
    do throws(RingError) {
      guard let memory else { throw .connectFailed(address, errno: ENAMETOOLONG) }
      let descriptor = try driver.openSocket(towards: address)
      let socket = sockets.insert(descriptor, .connecting)
      attach(socket, attachment)
      driver.connect(descriptor, memory, token(.connect, socket))
      return socket
    } catch {
      let socket = sockets.insert(-1, .open)
      attach(socket, attachment)
      deferred.append(.failed(socket, error))
      return socket
    }
  }

  func attach(_ socket: SocketID, _ attachment: SocketAttachment) {
    unsafe sockets.row(socket.slot).pointee.attachment = .passRetained(attachment)
  }

  func token(_ kind: OperationToken.Kind, _ socket: SocketID) -> OperationToken {
    OperationToken(kind, slot: socket.slot, generation: socket.generation)
  }

  func connected(_ completion: Completion) {
    let socket = SocketID(slot: completion.token.slot, generation: completion.token.generation)
    guard let row = unsafe sockets.find(socket.slot, socket.generation) else { return noteStale() }
    guard unsafe row.pointee.phase == .connecting else {
      // Closed while connecting: `isSending` stood for the connect in flight.
      unsafe row.pointee.isSending = false
      return joinIfQuiet(socket)
    }
    unsafe row.pointee.phase = .open
    guard completion.result == 0 else {
      let address = unsafe handlerAddress(row)
      return tellFailure(socket, .connectFailed(address, errno: -completion.result))
    }
    unsafe armReceive(row, socket)
    unsafe tell(row) { $0.socketConnected(socket) }
  }

  private func handlerAddress(_ row: UnsafeMutablePointer<SocketRow>) -> SocketAddress {
    guard let attachment = unsafe row.pointee.attachment?.takeUnretainedValue(),
      let target = attachment.target
    else { preconditionFailure("a connecting socket has no target address") }
    return target.address
  }

  /// Calls the handler without counting references: the row owns the attachment, and gives it up only in
  /// `finishClosing`, which never runs within a handler.
  @inline(__always)
  private func tell(_ row: UnsafeMutablePointer<SocketRow>, _ body: (any SocketHandler) -> Void) {
    unsafe row.pointee.attachment?._withUnsafeGuaranteedRef { body($0.handler) }
  }

  // MARK: receive

  func armReceive(_ row: UnsafeMutablePointer<SocketRow>, _ socket: SocketID) {
    guard unsafe row.pointee.receiving == .idle, unsafe row.pointee.wantsBytes, unsafe !row.pointee.isAtEnd,
      unsafe !row.pointee.hasFailed
    else { return }
    unsafe row.pointee.receiving = .armed
    unsafe driver.receive(row.pointee.descriptor, token(.receive, socket))
  }

  func received(_ completion: Completion) {
    let socket = SocketID(slot: completion.token.slot, generation: completion.token.generation)
    guard let row = unsafe sockets.find(socket.slot, socket.generation) else { return noteStale() }
    if !completion.more { unsafe row.pointee.receiving = .idle }
    guard unsafe row.pointee.phase == .open else { return joinIfQuiet(socket) }
    if completion.result > 0 {
      let bytes = unsafe UnsafeRawBufferPointer(start: completion.bytes, count: Int(completion.result))
      unsafe deliver(bytes, row, socket)
    } else if completion.result == 0 {
      unsafe receivedEnd(row, socket)
    } else {
      receiveStopped(socket, -completion.result)
    }
    if !completion.more { receiveAgain(socket) }
  }

  /// The multishot receive has ended; goes on with a new one unless the socket has ended too.
  private func receiveAgain(_ socket: SocketID) {
    guard let row = unsafe sockets.find(socket.slot, socket.generation), unsafe row.pointee.phase == .open
    else { return }
    unsafe armReceive(row, socket)
  }

  private func deliver(
    _ bytes: UnsafeRawBufferPointer, _ row: UnsafeMutablePointer<SocketRow>, _ socket: SocketID
  ) {
    if unsafe row.pointee.wantsBytes, unsafe !row.pointee.holds {
      unsafe tell(row) { unsafe $0.socketReceived(socket, bytes) }
    } else {
      unsafe withAttachment(row) { attachment in
        let held = attachment.held ?? IOBuffer()
        unsafe held.append(bytes)
        attachment.held = held
      }
    }
  }

  private func receivedEnd(_ row: UnsafeMutablePointer<SocketRow>, _ socket: SocketID) {
    unsafe row.pointee.isAtEnd = true
    if unsafe row.pointee.wantsBytes, unsafe !row.pointee.holds {
      unsafe tell(row) { $0.socketReachedEnd(socket) }
    } else {
      unsafe withAttachment(row) { $0.holdsEnd = true }
    }
  }

  private func withAttachment(_ row: UnsafeMutablePointer<SocketRow>, _ body: (SocketAttachment) -> Void) {
    guard let attachment = unsafe row.pointee.attachment?.takeUnretainedValue() else { return }
    unsafe row.pointee.holds = true
    body(attachment)
  }

  private func receiveStopped(_ socket: SocketID, _ number: Int32) {
    switch number {
    case ENOBUFS: counters.bufferShortages &+= 1
    case ECANCELED, EINTR, EAGAIN: break
    default: tellFailure(socket, .receiveFailed(errno: number))
    }
  }

  /// Stops `socketReceived` for this socket; what the kernel delivers meanwhile is kept and the peer is
  /// slowed down.
  public func pauseReceiving(_ socket: SocketID) {
    guard let row = unsafe sockets.find(socket.slot, socket.generation) else { return noteStale() }
    unsafe row.pointee.wantsBytes = false
    unsafe cancelReceive(row, socket)
  }

  /// Goes on after `pauseReceiving`; kept bytes come first, never within this call.
  public func resumeReceiving(_ socket: SocketID) {
    guard let row = unsafe sockets.find(socket.slot, socket.generation) else { return noteStale() }
    guard unsafe !row.pointee.wantsBytes else { return }
    unsafe row.pointee.wantsBytes = true
    if unsafe row.pointee.holds { deferred.append(.deliverHeld(socket)) }
    if unsafe row.pointee.phase == .open { unsafe armReceive(row, socket) }
  }

  private func cancelReceive(_ row: UnsafeMutablePointer<SocketRow>, _ socket: SocketID) {
    guard unsafe row.pointee.receiving == .armed else { return }
    unsafe row.pointee.receiving = .cancelling
    unsafe driver.cancel(token(.receive, socket), on: row.pointee.descriptor)
  }

  func deliverHeld(_ socket: SocketID) {
    guard let row = unsafe sockets.find(socket.slot, socket.generation), unsafe row.pointee.phase == .open,
      unsafe row.pointee.wantsBytes, unsafe row.pointee.holds,
      let attachment = unsafe row.pointee.attachment?.takeUnretainedValue()
    else { return }
    unsafe row.pointee.holds = false
    let held = attachment.held
    attachment.held = nil
    if let held { unsafe attachment.handler.socketReceived(socket, held.readable) }
    guard attachment.holdsEnd, let after = unsafe sockets.find(socket.slot, socket.generation),
      unsafe after.pointee.phase == .open
    else { return }
    if unsafe after.pointee.wantsBytes {
      attachment.holdsEnd = false
      attachment.handler.socketReachedEnd(socket)
    } else {
      unsafe after.pointee.holds = true
    }
  }

  // MARK: send

  /// Sends all of `buffer`, which belongs to the loop until `socketSent`. At most one send is in flight per
  /// socket, and none before `socketConnected`. After a close or failure it is ignored and the buffer let
  /// go.
  public func send(_ socket: SocketID, _ buffer: consuming IOBuffer) {
    guard let row = unsafe sockets.find(socket.slot, socket.generation) else { return noteStale() }
    precondition(unsafe row.pointee.phase != .connecting, "a send before socketConnected")
    guard unsafe row.pointee.phase == .open, unsafe !row.pointee.hasFailed else { return }
    precondition(unsafe !row.pointee.isSending, "a second send in flight on one socket would be reordered")
    precondition(unsafe !row.pointee.isFinishing, "a send after finishSending")
    precondition(!buffer.isEmpty, "a send of no bytes")
    unsafe row.pointee.isSending = true
    unsafe driver.send(row.pointee.descriptor, buffer.readable, token(.send, socket))
    unsafe row.pointee.buffer = .passRetained(buffer)
  }

  func sent(_ completion: Completion) {
    let socket = SocketID(slot: completion.token.slot, generation: completion.token.generation)
    guard let row = unsafe sockets.find(socket.slot, socket.generation) else { return noteStale() }
    guard let lent = unsafe row.pointee.buffer else {
      preconditionFailure("a send completed that was not in flight")
    }
    if completion.result > 0 {
      unsafe lent._withUnsafeGuaranteedRef { $0.consume(Int(completion.result)) }
    }
    let goesOn = completion.result >= 0 || completion.result == -EINTR
    if goesOn, unsafe row.pointee.phase == .open, unsafe !lent._withUnsafeGuaranteedRef({ $0.isEmpty }) {
      return unsafe sendRest(row, socket, lent)
    }
    unsafe row.pointee.isSending = false
    unsafe row.pointee.buffer = nil
    guard unsafe row.pointee.phase == .open else {
      unsafe lent.release()
      return joinIfQuiet(socket)
    }
    guard goesOn else {
      unsafe lent.release()
      return tellFailure(socket, .sendFailed(errno: -completion.result))
    }
    if unsafe row.pointee.finishesAfterSend { unsafe driver.finishSending(row.pointee.descriptor) }
    unsafe tell(row) { unsafe $0.socketSent(socket, lent.takeRetainedValue()) }
  }

  private func sendRest(
    _ row: UnsafeMutablePointer<SocketRow>, _ socket: SocketID, _ lent: Unmanaged<IOBuffer>
  ) {
    unsafe lent._withUnsafeGuaranteedRef {
      unsafe driver.send(row.pointee.descriptor, $0.readable, token(.send, socket))
    }
  }

  /// Half-closes after the send in flight: the peer reads an end, receiving goes on.
  public func finishSending(_ socket: SocketID) {
    guard let row = unsafe sockets.find(socket.slot, socket.generation) else { return noteStale() }
    guard unsafe row.pointee.phase == .open, unsafe !row.pointee.isFinishing, unsafe !row.pointee.hasFailed
    else { return }
    unsafe row.pointee.isFinishing = true
    if unsafe row.pointee.isSending {
      unsafe row.pointee.finishesAfterSend = true
    } else {
      unsafe driver.finishSending(row.pointee.descriptor)
    }
  }

  // MARK: failure and death

  /// Tells a failure once; later ones of the same socket follow from it.
  func tellFailure(_ socket: SocketID, _ error: RingError) {
    guard let row = unsafe sockets.find(socket.slot, socket.generation), unsafe row.pointee.phase == .open,
      unsafe !row.pointee.hasFailed
    else { return }
    unsafe row.pointee.hasFailed = true
    unsafe tell(row) { $0.socketFailed(socket, error) }
  }

  /// Ends a socket: bytes not yet sent are lost, nothing but `socketClosed` is called any more, never
  /// within this call. Closing twice is harmless.
  public func close(_ socket: SocketID) {
    guard let row = unsafe sockets.find(socket.slot, socket.generation) else { return noteStale() }
    switch unsafe row.pointee.phase {
    case .free, .closing, .joined: return
    case .connecting:
      // The connect in flight is joined like a send: both end in one completion.
      unsafe row.pointee.isSending = true
      unsafe driver.cancel(token(.connect, socket), on: row.pointee.descriptor)
    case .open:
      if unsafe row.pointee.isSending {
        unsafe driver.cancel(token(.send, socket), on: row.pointee.descriptor)
      }
    }
    unsafe row.pointee.phase = .closing
    unsafe cancelReceive(row, socket)
    joinIfQuiet(socket)
  }

  /// The next step of dying, once nothing is in flight.
  func joinIfQuiet(_ socket: SocketID) {
    let row = unsafe sockets.row(socket.slot)
    guard unsafe row.pointee.phase == .closing, unsafe row.pointee.isQuiet else { return }
    unsafe row.pointee.phase = .joined
    deferred.append(.joined(slot: socket.slot))
  }

  /// The last steps: descriptor, row, handler.
  func finishClosing(_ slot: UInt32) {
    let row = unsafe sockets.row(slot)
    let socket = unsafe SocketID(slot: slot, generation: row.pointee.generation)
    let descriptor = unsafe row.pointee.descriptor
    let attachment = unsafe row.pointee.attachment?.takeUnretainedValue()
    if descriptor >= 0 { driver.close(descriptor) }
    sockets.remove(slot)
    counters.closed &+= 1
    attachment?.handler.socketClosed(socket)
  }

  func noteStale() { counters.stale &+= 1 }
}
