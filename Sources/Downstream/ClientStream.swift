// The descent, driven from here: one ADS stream of one client. A new view or a request goes in, responses
// come out when the client can take them. What to send is decided by `ADSServer`; this file only asks it
// again whenever something changed: a request, a view, a drained call, a deadline.

import GRPC
import Gates
import Primitives
import Ring
import Snapshots
import Transport
import XDS

final class ClientStream: CallHandler, TimerHandler {
  let call: Call
  let dialect: ADSDialect
  private var server: ADSServer
  private let loop: EventLoop
  private weak var client: Client?
  private var timer = TimerID.none
  private var armedFor: Instant?

  /// Bytes queued on a call beyond which no further response is asked for: the client is behind, and
  /// what it is given next should be the newest then. Small answers still share records.
  private static let queuedBytesMost = 64 * 1024

  init(_ call: Call, dialect: ADSDialect, client: Client, loop: EventLoop, limits: Limits) {
    self.call = call
    self.dialect = dialect
    self.client = client
    self.loop = loop
    server = ADSServer(dialect: dialect, limits: limits)
    call.accept()
  }

  var subscriptions: [SubscriptionFacts] {
    server.status.map { type in
      SubscriptionFacts(
        typeURL: type.typeURL, sent: type.sent, acknowledged: type.acked,
        rejections: type.nacks, lastRejection: type.lastNack)
    }
  }

  func update(_ view: View) {
    server.update(view)
    pump()
  }

  func call(_ call: Call, received message: [UInt8]) {
    do throws(ADSError) {
      try server.receive(message, now: loop.now)
    } catch {
      return end(error)
    }
    client?.requested(dialect)
    pump()
  }

  func callAccepted(_ call: Call) {}

  func callHalfClosed(_ call: Call) {
    // A client that will never acknowledge again has no use for more.
    call.finish(.ok)
  }

  func callDrained(_ call: Call) { pump() }

  func callEnded(_ call: Call, _ status: GRPCStatus) {
    loop.cancel(timer)
    client?.ended(self)
  }

  func timerFired(_ id: TimerID, tag: Int) {
    armedFor = nil
    server.deadlinePassed(now: loop.now)
    pump()
  }

  /// Sends what may be sent, reports what happened, and arms the next deadline.
  private func pump() {
    do throws(ADSError) {
      while call.isOpen, call.unsentBytes < ClientStream.queuedBytesMost,
        let response = try server.nextResponse(now: loop.now)
      {
        client?.delivering(response, dialect)
        call.send(head: response.head, body: response.body)
      }
    } catch {
      end(error)
    }
    while let event = server.nextEvent() { client?.noted(event) }
    rearm()
  }

  private func end(_ error: ADSError) {
    client?.brokeProtocol(error.message)
    call.finish(GRPCStatus(StatusCode(rawValue: error.code) ?? .unknown, error.message))
  }

  private func rearm() {
    let deadline = server.nextDeadline()
    guard deadline != armedFor else { return }
    loop.cancel(timer)
    armedFor = deadline
    timer = deadline.map { loop.schedule(at: $0, self, tag: 0) } ?? .none
  }
}
