// The answer to an identity that policy gives nothing: PERMISSION_DENIED on every method, after a hold.
//
// An istiod whose stream is refused redials within half a second, for ever. Holding the refusal for two
// to four seconds turns that into a trickle. Holds are bounded in number; beyond, the refusal is sent at once.

import GRPC
import Primitives
import Ring
import Transport

/// One call of a refused connection, held and then ended.
final class RefusedCall: CallHandler, TimerHandler {
  private let call: Call
  private let status: GRPCStatus
  private let loop: EventLoop
  private var timer = TimerID.none
  private let released: () -> Void
  private var held = true

  /// `released` is called once, when the hold is over either way.
  init(_ call: Call, reason: String, hold: Duration, loop: EventLoop, released: @escaping () -> Void) {
    self.call = call
    self.loop = loop
    self.released = released
    status = GRPCStatus(.permissionDenied, reason)
    timer = loop.schedule(at: loop.now + hold, self, tag: 0)
  }

  func timerFired(_ id: TimerID, tag: Int) {
    release()
    call.finish(status)
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
