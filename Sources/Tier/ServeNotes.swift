// What serve loops note, as lines for the journal.

import Audit
import Downstream
import SPIFFE

extension TierEvent {
  /// - Parameter omitted: so many like it were left out before it.
  init(_ note: ServeNote, omitted: Int) {
    self.init(note)
    self = of(note.record.event)
    if omitted > 0 { fields.append(.init("omitted", String(omitted))) }
  }

  private init(_ note: ServeNote) {
    switch note {
    case .handshakeFailed(let address, let reason):
      self.init(.info, "handshake failed", [.init("address", address), .init("reason", reason)])
    case .connected(let id, let cluster, let address):
      self.init(
        .info, "client connected",
        [.init("spiffe_id", id.description), .init("cluster", cluster), .init("address", address)])
    case .disconnected(let id, let cluster, let address, let reason):
      self.init(
        .info, "client disconnected",
        [
          .init("spiffe_id", id.description), .init("cluster", cluster), .init("address", address),
          .init("reason", reason),
        ])
    case .refused(let id, let address, let reason):
      self.init(
        .notice, "client refused",
        [.init("spiffe_id", id.description), .init("address", address), .init("reason", reason)])
    case .ended(let id, let cluster, let reason):
      self.init(
        .notice, "client ended",
        [.init("spiffe_id", id.description), .init("cluster", cluster), .init("reason", reason)])
    case .rejected(let id, let cluster, let typeURL, let version, let message):
      self.init(
        .warning, "client rejected a response (NACK)",
        [
          .init("spiffe_id", id.description), .init("cluster", cluster), .init("type", typeURL),
          .init("version", version), .init("message", message),
        ])
    case .brokeProtocol(let id, let cluster, let message):
      self.init(
        .warning, "client broke the protocol",
        [.init("spiffe_id", id.description), .init("cluster", cluster), .init("reason", message)])
    case .sinkFailed(let address, let reason):
      self.init(.warning, "sink not served", [.init("address", address), .init("reason", reason)])
    }
  }
}
