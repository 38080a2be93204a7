// What must not happen before it is on record: answers that show content, and snapshots that leave as files. Who asks
// waits here until the audit worker has written the record, and is refused when that cannot be done, or takes too long
// (decision 113). Nothing else waits: the control loop goes on meanwhile, and `/status`, `/metrics` and the probes are
// never held up.

import Admin
import Audit
import Primitives
import Ring
import SPIFFE

final class RecordDesk {
  /// How long somebody waits for a record before it is refused. Reason: below the 5 s after which the admin server
  /// answers by itself, also when it is looked at once a second only.
  static let patience: Duration = .seconds(2)
  /// Who waits at once. Reason: the admin interface has no more connections on one address. Full: refused.
  static let most = 64

  fileprivate struct Waiting {
    /// `AuditDesk.recorded`.
    let number: UInt64
    let since: Instant
    /// Written after it when it did not happen: the record that waits must not stand there alone.
    let undone: AuditRecord
    /// Nil: it is on record. Else why it is not.
    let then: (String?) -> Void
  }

  /// In the order of their numbers.
  fileprivate var waiting: [Waiting] = []
}

extension ControlLoop {
  /// Tells the journal and the audit of something, and calls `then` once that is on record, or with the reason why it
  /// cannot be: then it must not happen. `undone`: how its record begins in that case.
  func afterRecord(_ event: TierEvent, undone: String, _ then: @escaping (_ obstacle: String?) -> Void) {
    guard var record = event.record else { preconditionFailure("what waits for its record has one") }
    if let obstacle = audit.obstacle { return then(obstacle) }
    guard records.waiting.count < RecordDesk.most else {
      return then("\(RecordDesk.most) others wait for the audit log")
    }
    report(event)
    record.reason = undone
    records.waiting.append(
      RecordDesk.Waiting(number: audit.recorded, since: loop.now, undone: record, then: then))
    settleRecords()
  }

  /// Lets go on whose record is written, and refuses those whose record cannot be, or not in time. Call when the loop was
  /// woken, and once a second.
  func settleRecords() {
    guard !records.waiting.isEmpty else { return }
    let obstacle = audit.obstacle
    var (ready, refused): ([RecordDesk.Waiting], [RecordDesk.Waiting]) = ([], [])
    records.waiting.removeAll { waiting in
      if audit.isWritten(waiting.number) {
        ready.append(waiting)
      } else if obstacle != nil || loop.now - waiting.since >= RecordDesk.patience {
        refused.append(waiting)
      } else {
        return false
      }
      return true
    }
    for waiting in ready { waiting.then(nil) }
    for waiting in refused {
      let reason = obstacle ?? "the audit log takes too long to be written"
      var record = waiting.undone
      record.reason = [record.reason, reason].compactMap { $0 }.joined(separator: ": ")
      audit.record(record)
      waiting.then(reason)
    }
  }

  // MARK: looking at content

  /// An operator looks at content: `show` answers once that is on record. `id`: as whom; it stands in the record whole,
  /// however much else has to be cut.
  func looked(
    _ what: String, as id: SPIFFEID? = nil, type: String? = nil,
    _ reply: @escaping @Sendable (AdminReply) -> Void,
    _ show: @escaping (ControlLoop) -> Void
  ) {
    let event = TierEvent(
      .info, "an operator looked at content",
      [.init("what", what)] + (type.map { [.init("type", $0)] } ?? []))
    afterRecord(
      event.recording(AuditRecord(.admin, spiffeID: id, type: type, reason: what)),
      undone: "nothing was shown: " + what
    ) { [weak self] obstacle in
      if let obstacle {
        reply(.error(status: 503, "Nothing is shown, for it could not be put on record: \(obstacle)"))
      } else if let self {
        show(self)
      }
    }
  }
}
