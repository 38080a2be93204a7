// Listening sockets of a loop: multishot accept, and what happens when descriptors run out.
//
// A full process must not spin: when accepting fails for want of descriptors or memory the connections wait
// in the kernel's queue and accepting starts again a little later.

import Glibc
import Primitives

/// A listening socket of a loop.
struct ListeningSocket {
  let id: ListenerID
  let descriptor: Int32
  let acceptor: any Acceptor
  /// An accept is with the kernel.
  var isArmed = false
  /// No new connections; waiting for the accept to complete.
  var isClosing = false
}

extension EventLoop {
  /// How long accepting rests after descriptors or memory ran out.
  private static let acceptPause: Duration = .milliseconds(100)

  /// Binds, listens and accepts. Port 0 takes a free one: see `boundAddress`.
  public func listen(at address: SocketAddress, backlog: Int32, _ acceptor: any Acceptor) throws(RingError)
    -> ListenerID
  {
    let descriptor = try driver.openListener(at: address, backlog: backlog)
    do throws(RingError) {
      return try listen(descriptor: descriptor, acceptor)
    } catch {
      driver.close(descriptor)
      throw error
    }
  }

  /// Accepts on a socket that listens already (from systemd, or a `dup` of one that several loops share).
  /// The loop closes `descriptor` in the end; when this throws it stays the caller's.
  public func listen(descriptor: Int32, _ acceptor: any Acceptor) throws(RingError) -> ListenerID {
    try driver.adoptListener(descriptor)
    let slot = listeners.firstIndex { $0 == nil } ?? listeners.count
    let id = ListenerID(slot: UInt32(slot), generation: takeGeneration())
    let listener = ListeningSocket(id: id, descriptor: descriptor, acceptor: acceptor)
    if slot == listeners.count { listeners.append(listener) } else { listeners[slot] = listener }
    arm(id)
    return id
  }

  /// The address a listener is bound to, with the port the kernel chose; nil when it was closed.
  public func boundAddress(_ id: ListenerID) -> SocketAddress? {
    listener(id).flatMap { driver.localAddress(of: $0.descriptor) }
  }

  /// Accepts nothing more. Connections that wait unaccepted are reset by the kernel, unless another loop
  /// shares the socket.
  public func closeListener(_ id: ListenerID) {
    guard let listener = listener(id) else { return noteStale() }
    guard !listener.isClosing else { return }
    listeners[Int(id.slot)]?.isClosing = true
    if listener.isArmed {
      driver.cancel(acceptToken(id), on: listener.descriptor)
    } else {
      forget(listener)
    }
  }

  func accepted(_ completion: Completion) {
    let id = ListenerID(slot: completion.token.slot, generation: completion.token.generation)
    guard let listener = listener(id) else {
      if completion.result >= 0 { driver.close(completion.result) }
      return noteStale()
    }
    if !completion.more { listeners[Int(id.slot)]?.isArmed = false }
    if completion.result >= 0 {
      if listener.isClosing { driver.close(completion.result) } else { welcome(completion.result, listener) }
    }
    guard !completion.more else { return }
    if self.listener(id)?.isClosing ?? true {
      forget(listener)
    } else if completion.result >= 0 || EventLoop.passes(-completion.result) {
      arm(id)
    } else {
      counters.acceptPauses &+= 1
      _ = timers.arm(at: now + EventLoop.acceptPause, .acceptAgain(id))
    }
  }

  private func welcome(_ descriptor: Int32, _ listener: ListeningSocket) {
    guard let peer = driver.peerAddress(of: descriptor) else {
      // The peer is gone before it was greeted.
      return driver.close(descriptor)
    }
    let socket = sockets.insert(descriptor, .open)
    counters.opened &+= 1
    guard let handler = listener.acceptor.accepted(socket, from: peer) else { return close(socket) }
    attach(socket, SocketAttachment(handler))
    let row = unsafe sockets.row(socket.slot)
    if unsafe row.pointee.phase == .open { unsafe armReceive(row, socket) }
  }

  /// Failures of one connection, not of accepting. accept(2), "Error handling".
  private static func passes(_ number: Int32) -> Bool {
    switch number {
    case ECONNABORTED, EINTR, EAGAIN, EPROTO, ENETDOWN, ENOPROTOOPT, EHOSTDOWN, ENONET, EHOSTUNREACH,
      ENETUNREACH:
      true
    default: false
    }
  }

  func acceptAgain(_ id: ListenerID) {
    guard let listener = listener(id), !listener.isArmed, !listener.isClosing else { return }
    arm(id)
  }

  private func arm(_ id: ListenerID) {
    guard let listener = listener(id) else { return }
    listeners[Int(id.slot)]?.isArmed = true
    driver.accept(listener.descriptor, acceptToken(id))
  }

  private func forget(_ listener: ListeningSocket) {
    listeners[Int(listener.id.slot)] = nil
    driver.close(listener.descriptor)
  }

  private func listener(_ id: ListenerID) -> ListeningSocket? {
    guard Int(id.slot) < listeners.count, let listener = listeners[Int(id.slot)], listener.id == id
    else { return nil }
    return listener
  }

  private func acceptToken(_ id: ListenerID) -> OperationToken {
    OperationToken(.accept, slot: id.slot, generation: id.generation)
  }

  /// A generation for a listener or watch: 1 … 2^28 − 1.
  func takeGeneration() -> UInt32 {
    defer { nextGeneration = nextGeneration % OperationToken.generationMask + 1 }
    return nextGeneration
  }
}
