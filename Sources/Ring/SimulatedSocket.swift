// One end of a simulated connection, and a simulated listening socket.

import Primitives

/// What travels towards a socket, in order.
enum SimulatedPayload {
  case bytes([UInt8])
  case end
  case reset
}

/// One end of a connection.
@safe
final class SimulatedSocket {
  enum Life {
    case fresh
    case connected
    /// Closed by its owner.
    case closed
    /// Its host lost power; nobody answers for it.
    case vanished
  }

  let descriptor: Int32
  let driver: SimulatedDriver
  var local: SocketAddress
  var remote: SocketAddress
  var life = Life.fresh
  /// The other end; nil before a connection and after both ends closed.
  var peer: SimulatedSocket?

  /// On the way to this end; first in, first out whatever the links do.
  var inbound: [SimulatedPayload] = []
  /// Arrived and not yet received.
  var unread: [UInt8] = []
  /// Bytes in `inbound` and `unread`.
  var pendingBytes = 0
  /// No arrival may be scheduled before this one.
  var lastArrival = Instant(nanoseconds: 0)
  var hasEnded = false
  var wasReset = false
  /// Something arrived while nobody could answer for it.
  var owesReset = false

  var receive: OperationToken?
  var connect: OperationToken?
  var send: OperationToken?
  var sendBytes = unsafe UnsafeRawBufferPointer(start: nil, count: 0)
  var hasFinished = false

  init(_ descriptor: Int32, _ driver: SimulatedDriver, local: SocketAddress, remote: SocketAddress) {
    self.descriptor = descriptor
    self.driver = driver
    self.local = local
    self.remote = remote
  }

  /// Nothing waits for this end any more, and the memory of its send is not ours any more.
  func forgetOperations() {
    receive = nil
    connect = nil
    send = nil
    unsafe sendBytes = UnsafeRawBufferPointer(start: nil, count: 0)
  }

  var isReadable: Bool { receive != nil && (!unread.isEmpty || hasEnded || wasReset) }
}

/// A listening socket with the connections nobody accepted yet.
final class SimulatedListener {
  let descriptor: Int32
  let driver: SimulatedDriver
  let address: SocketAddress
  var waiting: [SimulatedSocket] = []
  var accept: OperationToken?

  init(_ descriptor: Int32, _ driver: SimulatedDriver, address: SocketAddress) {
    self.descriptor = descriptor
    self.driver = driver
    self.address = address
  }

  /// Whether a connect from `host` to `target` ends here.
  func answers(_ target: SocketAddress, hostAddress: UInt32, fromSameHost: Bool) -> Bool {
    switch (address, target) {
    case (.ip4(let bound, let port), .ip4(let wanted, let wantedPort)):
      guard port == wantedPort else { return false }
      if wanted >> 24 == 127 { return fromSameHost && (bound == 0 || bound == wanted) }
      return wanted == hostAddress && (bound == 0 || bound == wanted)
    case (.ip6, .ip6), (.unix, .unix):
      return fromSameHost && address == target
    default:
      return false
    }
  }
}
