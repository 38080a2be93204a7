// What the rooms above implement, and the names they hold instead of descriptors.

public import Primitives

/// One stream socket of one loop. A stale one, whose socket was closed, is ignored everywhere.
public struct SocketID: Hashable, Sendable, CustomStringConvertible {
  let slot: UInt32
  let generation: UInt32

  public var description: String { "socket \(slot).\(generation)" }
}

/// One listening socket of one loop.
public struct ListenerID: Hashable, Sendable {
  let slot: UInt32
  let generation: UInt32
}

/// Takes the connections of a listener.
public protocol Acceptor: AnyObject {
  /// Who handles the new connection; nil: the loop closes it. `socket` may be used already.
  func accepted(_ socket: SocketID, from peer: SocketAddress) -> (any SocketHandler)?
}

/// Hears what happens to one socket. Every method runs on the loop's thread, after the batch of completions
/// was taken from the kernel: calling back into the loop never leads to a nested call of a handler.
public protocol SocketHandler: AnyObject {
  /// A `connect` succeeded. Never called for accepted sockets.
  func socketConnected(_ socket: SocketID)
  /// `bytes` are valid during the call only.
  func socketReceived(_ socket: SocketID, _ bytes: UnsafeRawBufferPointer)
  /// All of it was handed to the network. `buffer` is empty and the handler's again.
  func socketSent(_ socket: SocketID, _ buffer: consuming IOBuffer)
  /// The peer sends nothing more; sending to it may still work.
  func socketReachedEnd(_ socket: SocketID)
  /// Connecting, receiving or sending failed; told once. Nothing more can be sent or received. The handler
  /// closes it.
  func socketFailed(_ socket: SocketID, _ error: RingError)
  /// The last call: nothing is in flight, the descriptor is closed, `socket` is stale.
  func socketClosed(_ socket: SocketID)
}

/// Hears of a deadline set with `EventLoop.schedule`.
public protocol TimerHandler: AnyObject {
  /// `now` of the loop is at or after the deadline.
  func timerFired(_ id: TimerID, tag: Int)
}

/// Reads a descriptor the loop only watches: inotify, signalfd.
public protocol DescriptorHandler: AnyObject {
  /// Reading would not block. Called again while something is left to read.
  func descriptorReadable(_ descriptor: Int32)
}
