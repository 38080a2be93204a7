// One verified connection: who it is, which view policy gives it, its streams, and how its right to be
// here can end (policy, its certificate, its bundle).

import GRPC
import Gates
import Metrics
import Primitives
import Ring
import SPIFFE
import Snapshots
import Transport
import Trust
import XDS

final class Client: TimerHandler {
  let connection: Connection
  let peer: VerifiedPeer
  let connectedAt: Timestamp
  /// Its place in the generation it was judged by last.
  var grant: Generation.Grant
  private var streams: [ClientStream] = []
  private unowned let serving: ServeLoop
  private var expiry = TimerID.none

  init(
    _ connection: Connection, peer: VerifiedPeer, grant: Generation.Grant, serving: ServeLoop
  ) {
    self.connection = connection
    self.peer = peer
    self.grant = grant
    self.serving = serving
    connectedAt = serving.loop.wallClock
    watchExpiry()
  }

  var facts: [ClientFacts] {
    streams.map { stream in
      ClientFacts(
        id: peer.id, cluster: grant.cluster, address: connection.peer.description,
        dialect: stream.dialect.rawValue, connectedAt: connectedAt, subscriptions: stream.subscriptions)
    }
  }

  func open(_ call: Call, dialect: ADSDialect) -> any CallHandler {
    let stream = ClientStream(
      call, dialect: dialect, client: self, loop: serving.loop, limits: serving.limits)
    streams.append(stream)
    if let view = serving.view(of: grant) { stream.update(view) }
    return stream
  }

  func update(_ view: View) {
    guard !streams.isEmpty else { return }
    connection.batch { for stream in streams { stream.update(view) } }
  }

  /// Ends everything this client has, with a reason it can read.
  func end(_ code: StatusCode, _ reason: String) {
    serving.note(.ended(peer.id, cluster: grant.cluster, reason: reason))
    connection.finish(GRPCStatus(code, reason))
  }

  func left() { serving.loop.cancel(expiry) }

  // MARK: from its streams

  func ended(_ stream: ClientStream) { streams.removeAll { $0 === stream } }

  func brokeProtocol(_ message: String) {
    serving.note(.brokeProtocol(peer.id, cluster: grant.cluster, message: message))
  }

  func requested(_ dialect: ADSDialect) { serving.requested(dialect) }

  func delivering(_ response: ADSResponse, _ dialect: ADSDialect) { serving.delivering(response, dialect) }

  func noted(_ event: ADSServerEvent) { serving.noted(event, of: self) }

  // MARK: the certificate's life

  private func watchExpiry() {
    let left = peer.notAfter.milliseconds - serving.loop.wallClock.milliseconds
    // Looked at at least once an hour: the wall clock may be set meanwhile.
    let wait = Duration.milliseconds(min(max(left, 0), 3_600_000))
    expiry = serving.loop.schedule(at: serving.loop.now + wait, self, tag: 0)
  }

  func timerFired(_ id: TimerID, tag: Int) {
    if serving.loop.wallClock > peer.notAfter {
      serving.refused(.expired)
      end(.unauthenticated, "the client's certificate expired at \(peer.notAfter.rfc3339)")
    } else {
      watchExpiry()
    }
  }
}
