// What serve loops note, as records of the audit log. One place, so that nothing is told to the journal and not
// recorded. Deliveries, acknowledgements and subscriptions are no notes: there are too many of them for a journal.

public import Audit
import SPIFFE

extension ServeNote {
  public var record: AuditRecord {
    var record: AuditRecord
    switch self {
    case .handshakeFailed(let address, let reason):
      record = AuditRecord(.refuse, reason: "handshake failed: " + reason)
      record.address = address
    case .connected(let id, let cluster, let address):
      record = AuditRecord(.connect, spiffeID: id, cluster: cluster)
      record.address = address
    case .disconnected(let id, let cluster, let address, let reason):
      record = AuditRecord(.disconnect, spiffeID: id, cluster: cluster, reason: reason)
      record.address = address
    case .refused(let id, let address, let reason):
      record = AuditRecord(.refuse, spiffeID: id, reason: reason)
      record.address = address
    case .ended(let id, let cluster, let reason):
      record = AuditRecord(.refuse, spiffeID: id, cluster: cluster, reason: "ended: " + reason)
    case .rejected(let id, let cluster, let typeURL, let version, let message):
      record = AuditRecord(
        .nack, spiffeID: id, cluster: cluster, type: typeURL, version: version, reason: message)
    case .brokeProtocol(let id, let cluster, let message):
      record = AuditRecord(.refuse, spiffeID: id, cluster: cluster, reason: "ended: " + message)
    case .sinkFailed(let address, let reason):
      record = AuditRecord(.refuse, reason: "sink not served: " + reason)
      record.address = address
    }
    return record
  }
}
