// Where in memory that lies what an event of a socket will touch. Of a thousand connections each has left the caches by
// the time something happens to it again, and its memory arrives line after line, each wait behind the other. Asked
// for some events ahead it arrives together (docs/decisions/027).

import CLinux

/// Places around one socket. Hints only: nothing is read through them, so they may outlive what lay there.
struct SocketSurroundings {
  /// Address, a multiple of 16, with the number of its cache lines in the low bits.
  private var places = InlineArray<12, UInt>(repeating: 0)
  private var count = 0

  private static let linesMask: UInt = 15

  /// Ignored when there are as many as fit.
  mutating func add(_ address: UInt, lines: UInt) {
    guard count < places.count else { return }
    places[count] = address & ~SocketSurroundings.linesMask | min(lines, SocketSurroundings.linesMask)
    count += 1
  }

  func fetch() {
    for index in 0..<count {
      linux_prefetch(
        places[index] & ~SocketSurroundings.linesMask, places[index] & SocketSurroundings.linesMask)
    }
  }
}

extension EventLoop {
  /// Events between asking for memory and needing it. Reason: long enough for it to arrive, short enough for it to
  /// stay in the first cache.
  public static let lookahead = 3

  /// `object` will be touched whenever something happens to `socket`. Unit of `lines`: cache lines of 64 bytes.
  public func surround(_ socket: SocketID, with object: AnyObject, lines: UInt) {
    surround(
      socket, withAddress: UInt(bitPattern: unsafe Unmanaged.passUnretained(object).toOpaque()), lines: lines)
  }

  /// The same for memory that is no object of Swift.
  public func surround(_ socket: SocketID, withAddress address: UInt, lines: UInt) {
    guard let row = unsafe sockets.find(socket.slot, socket.generation) else { return }
    unsafe row.pointee.surroundings.add(address, lines: lines)
  }

  /// Something will be done with `socket` soon: `lookahead` steps from now. Costs some nanoseconds, does not wait.
  public func approach(_ socket: SocketID) {
    guard let row = unsafe sockets.find(socket.slot, socket.generation) else { return }
    unsafe row.pointee.surroundings.fetch()
  }

  /// The same for what a completion is about.
  func approach(_ completion: Completion) {
    let token = completion.token
    guard token.kind == .receive else { return }
    approach(SocketID(slot: token.slot, generation: token.generation))
  }
}
