// The audit log as the control loop sees it: what it records itself, when checkpoints are due, and what status,
// readiness and journal say of the log. Everybody on this loop records with `record`, or puts the record into the
// event that the journal gets anyway (`TierEvent.recording`). Writing is the audit worker's (`Trail/TrailWriter`).

import Admin
public import Audit
import Metrics
public import Primitives
public import Ring
import TLS
import Trail
import Trust

public final class AuditDesk: TimerHandler {
  /// Nil: no audit is kept.
  private let trail: TrailWriter?
  private let loop: EventLoop
  private let report: (TierEvent) -> Void
  private var seen = TrailFacts()
  private var hasIdentity = false
  private var hasEnded = false
  /// Records of this loop so far, and the number of the last that had no room.
  private(set) var recorded: UInt64 = 0
  private var lastLost: UInt64 = 0

  private enum Tag: Int { case retry, checkpoint, age }

  /// Between signed checkpoints. Reason: the contract (DESIGN.md §8).
  private static let checkpointInterval: Duration = .seconds(600)
  /// Between tries to write while writing fails. Reason: the same.
  private static let retryInterval: Duration = .seconds(1)
  /// Between looks for files that are too old.
  private static let ageInterval: Duration = .seconds(3600)

  init(_ trail: TrailWriter?, loop: EventLoop, report: @escaping (TierEvent) -> Void) {
    self.trail = trail
    self.loop = loop
    self.report = report
    trail?.listen(loop.waker)
    trail?.control.attach(loop.waker)
  }

  /// Where the publisher records; nil: no audit is kept.
  var publisher: AuditLane? { trail?.publisher }

  /// Puts a record into the log, after everything that this loop recorded before.
  public func record(_ record: AuditRecord) {
    guard let trail else { return }
    recorded &+= 1
    if !trail.control.hand(AuditBatch(record, at: loop.wallClock)) { lastLost = recorded }
  }

  /// Whether the record with this number (`recorded`, after it was made) is in the log, or need not be. One that had no
  /// room never will be.
  func isWritten(_ number: UInt64) -> Bool {
    guard let trail, isStopping else { return true }
    return number > lastLost && number <= trail.control.committed
  }

  // MARK: life

  func start(node: String, program: String, instance: String) {
    guard let trail else {
      return report(TierEvent(.notice, "no audit log is kept: `audit` is not configured"))
    }
    var start = AuditRecord(.start, reason: "instance \(instance)")
    start.node = node
    start.program = program
    trail.begin(start, now: loop.wallClock)
    schedule(.retry, AuditDesk.retryInterval)
    schedule(.checkpoint, AuditDesk.checkpointInterval)
    schedule(.age, .seconds(10))
  }

  /// The last words of this process: call when nobody records any more, before the worker is stopped.
  public func stop(reason: String) {
    guard let trail, !hasEnded else { return }
    hasEnded = true
    record(AuditRecord(.stop, reason: reason))
    trail.checkpoint(reason: "stop", now: loop.wallClock)
  }

  /// Goes on as a reload says. Whether there is a log is settled at the start.
  func follow(_ settings: TrailSettings?) {
    guard let trail, let settings else { return }
    trail.adopt(settings)
    if settings.path != trail.settings.path { trail.move(to: TrailFile(settings), path: settings.path) }
  }

  /// Checkpoints are signed with our SVID's key from now on; with one that was taken back they are not (decision 089).
  func adopt(_ credentials: Credentials) {
    guard let trail else { return }
    let svid = credentials.svid
    trail.adopt(
      credentials.withdrawnAt == nil
        ? TrailSigner(certificates: svid.chain, notAfter: svid.notAfter, sign: { svid.key.sign($0) }) : nil)
    if !hasIdentity { trail.checkpoint(reason: "start", now: loop.wallClock) }
    hasIdentity = true
  }

  private func schedule(_ tag: Tag, _ time: Duration) {
    _ = loop.schedule(at: loop.now + time, self, tag: tag.rawValue)
  }

  public func timerFired(_ id: TimerID, tag: Int) {
    guard let trail, !hasEnded, let tag = Tag(rawValue: tag) else { return }
    switch tag {
    case .retry:
      pickUp()
      // Also when all is well: a round that the worker had no room for is asked for again.
      trail.retry()
      schedule(tag, AuditDesk.retryInterval)
    case .checkpoint:
      trail.checkpoint(now: loop.wallClock)
      schedule(tag, AuditDesk.checkpointInterval)
    case .age:
      trail.removeOldFiles(now: loop.wallClock)
      schedule(tag, AuditDesk.ageInterval)
    }
  }

  // MARK: what became of it

  /// Call when the loop was woken: tells the journal what changed.
  func pickUp() {
    guard let trail else { return }
    let facts = trail.facts
    tellOfFailure(facts)
    if let refusal = facts.moveRefusal, refusal != seen.moveRefusal {
      report(
        TierEvent(
          .error, "the audit log stays where it is",
          [.init("path", trail.settings.path), .init("reason", "\(refusal)")]
        ).recording(AuditRecord(.config, reason: "refused: the audit log stays where it is: \(refusal)")))
    }
    if let left = facts.leftPlace, left != seen.leftPlace {
      report(
        TierEvent(
          .notice,
          "the audit log goes on in another place; what is in the old one stays until it is removed by hand",
          [.init("path", trail.settings.path), .init("left", left)]
        ).of(.config))
    }
    if let torn = facts.torn, torn != seen.torn {
      report(
        TierEvent(
          .warning, "the audit log had a torn end, which was moved away",
          [.init("path", trail.settings.path), .init("torn", torn)]
        ).of(.start))
    }
    if let checkpoint = facts.checkpoint, checkpoint != seen.checkpoint {
      report(
        TierEvent(
          .notice, "audit checkpoint",
          [
            .init("head", checkpoint.description), .init("seq", String(checkpoint.seq)),
            .init("signed", facts.isSigned ? "yes" : "no"), .init("path", trail.settings.path),
          ]
        ).of(.checkpoint))
    }
    if facts.removedFiles != seen.removedFiles, !facts.removedFiles.isEmpty {
      report(
        TierEvent(
          .notice, "old audit files were removed",
          [.init("files", facts.removedFiles.joined(separator: " "))]))
    }
    seen = facts
  }

  private func tellOfFailure(_ facts: TrailFacts) {
    guard facts.failure != seen.failure else { return }
    guard let failure = facts.failure else {
      return report(
        TierEvent(.notice, "the audit log is written again", [.init("lost", String(facts.lost))]))
    }
    let consequence =
      isStopping ? "nothing is delivered until it can be" : "records are lost, and counted"
    report(
      TierEvent(.error, "the audit log cannot be written: \(consequence)", [.init("reason", "\(failure)")]))
  }

  /// What cannot be recorded is not delivered.
  private var isStopping: Bool { trail?.settings.onFailure == .stop }

  var status: AuditStatus {
    guard let trail else { return AuditStatus(state: .off) }
    let facts = trail.facts
    return AuditStatus(
      state: facts.failure == nil ? .writing : .failing, head: facts.checkpoint?.description,
      error: facts.failure?.description)
  }

  /// Why the relay is not ready; nil when the log is no reason.
  var obstacle: String? {
    guard let trail, isStopping else { return nil }
    let facts = trail.facts
    if let failure = facts.failure { return "the audit log cannot be written: \(failure)" }
    return facts.isOpen ? nil : "the audit log is not open yet"
  }

  func fill(_ facts: inout RelayFacts) {
    guard let known = trail?.facts else { return }
    facts.auditOK = known.failure == nil
    facts.audit = RelayFacts.Audit(
      records: known.records, bytes: known.bytes, lost: known.lost, failures: known.failures)
  }
}

extension TierEvent {
  /// The same event, called in the journal as the audit log calls it.
  func of(_ event: AuditRecord.Event) -> TierEvent {
    var named = self
    named.fields.append(.init("event", event.rawValue))
    return named
  }

  /// The same event, which also belongs in the audit log.
  func recording(_ record: AuditRecord) -> TierEvent {
    var event = of(record.event)
    event.record = record
    return event
  }
}
