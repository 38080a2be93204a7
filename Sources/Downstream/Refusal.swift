// The answer to an identity that policy gives nothing: PERMISSION_DENIED on every method, after a hold.
//
// An istiod whose stream is refused redials within half a second, for ever. Holding the refusal for two
// to four seconds turns that into a trickle. Holds are bounded in number; beyond, the refusal is sent at once.

import GRPC
import Primitives
import Ring
import SPIFFE
import Transport

/// A verified peer that policy grants nothing.
struct RefusedPeer {
  let connection: Connection
  let id: SPIFFEID
  let reason: String
  /// False: there are many of them, so the connection goes with its first refusal.
  let isLasting: Bool
}

/// One call of a refused connection, held and then ended.
final class RefusedCall: CallHandler, TimerHandler {
  private let call: Call
  private let peer: RefusedPeer
  private let loop: EventLoop
  private var timer = TimerID.none
  private let released: () -> Void
  private var held = true

  /// `released` is called once, when the hold is over either way.
  init(_ call: Call, _ peer: RefusedPeer, hold: Duration, loop: EventLoop, released: @escaping () -> Void) {
    self.call = call
    self.loop = loop
    self.released = released
    self.peer = peer
    timer = loop.schedule(at: loop.now + hold, self, tag: 0)
  }

  func timerFired(_ id: TimerID, tag: Int) {
    release()
    let status = GRPCStatus(.permissionDenied, peer.reason)
    if peer.isLasting { call.finish(status) } else { peer.connection.finish(status) }
  }

  func callAccepted(_ call: Call) {}
  func call(_ call: Call, received message: [UInt8]) {}
  func callHalfClosed(_ call: Call) {}
  func callDrained(_ call: Call) {}

  func callEnded(_ call: Call, _ status: GRPCStatus) {
    loop.cancel(timer)
    release()
  }

  private func release() {
    guard held else { return }
    held = false
    released()
  }
}
