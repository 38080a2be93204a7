// The control loop's part of the gates: operators' commands in, answers and journal lines out.
//
// What a command means is decided in the room `Gates`, on the publisher's worker; here it is brought there with
// the version it names, and its asker is answered once it is in force.

import Admin
import Audit
import Gates
import Primitives
import Ring
import Snapshots
import Store

/// One command on its way to the publisher.
struct GateOrder: Sendable {
  let ticket: UInt64
  let command: AdminCommand
  /// The version it names, where versions are kept on disk.
  var content: KeptContent?
  /// How many revocations there had been when the content was asked for.
  var askedAt: UInt64 = 0

  /// `history`: the versions in memory, where they are kept there. `revoked`: since the content was asked for;
  /// nil when there were too many.
  func resolved(
    _ history: KeptVersions?, _ revoked: [Merge.Revocation]?, admits: (Resource) -> Bool
  ) throws(GateRefusal) -> GateCommand {
    func kept(_ version: String) throws(GateRefusal) -> KeptContent {
      guard let revoked else { throw .busy }
      return try find(version, history).erasing(revoked).restricted(to: admits)
    }
    switch command {
    case .rollback(let version, let cluster): return .rollBack(try kept(version), cluster: cluster)
    case .pin(let cluster, let version): return .pin(cluster, try kept(version))
    case .unpin(let cluster): return .unpin(cluster)
    case .freeze(let cluster): return .freeze(cluster: cluster)
    case .thaw(let cluster): return .thaw(cluster: cluster)
    case .release(let cluster, nil): return .release(cluster, nil)
    case .release(let cluster, let name?):
      guard let type = TypeName(written: name) else { throw .type(name) }
      return .release(cluster, type)
    case .adopt: preconditionFailure("adopting a source is no business of the publisher")
    }
  }

  private func find(_ version: String, _ history: KeptVersions?) throws(GateRefusal) -> KeptContent {
    if let content { return content }
    do throws(VersionError) {
      return try (history?.find(version) ?? .failure(.unknown(version))).get()
    } catch {
      throw .version(error)
    }
  }
}

/// Why a command was not carried out.
enum GateRefusal: Error {
  case version(VersionError)
  case gate(GateError)
  case store(StoreError)
  case type(String)
  case busy

  var reply: AdminReply {
    switch self {
    case .version(let error): .error(status: error.httpStatus, error.description)
    case .gate(let error): .error(status: error.httpStatus, error.description)
    case .store(let error): .error(status: error.httpStatus, error.description)
    case .busy: .error(status: 503, "The relay is too busy to answer. Try again")
    case .type(let text): .error(status: 400, "'\(ForeignText.line(text))' is not group/Kind.")
    }
  }
}

/// What the control loop hears of gates after a job.
struct GateReport: Sendable {
  /// Nil when nothing was published.
  var standings: [GateStanding]?
  var events: [GateEvent] = []
  /// How many there have been.
  var revocations: UInt64 = 0
  var answer: Answer?

  struct Answer: Sendable {
    let order: GateOrder
    /// What is kept from now on, where something is.
    let outcome: Result<Kept?, GateRefusal>
    /// It is on its way to disk: answered when it is there.
    let isBeingSaved: Bool
  }

  struct Kept: Sendable {
    let version: Version
    let kind: Gate.Kind
  }

  mutating func note(_ publication: Publication, _ standings: [GateStanding]) {
    self.standings = standings
    events = publication.events
  }
}

/// Commands that wait, and the gates in force.
final class GateDesk {
  fileprivate var waiting: [UInt64: Waiting] = [:]
  fileprivate(set) var standings: [GateStanding] = []
  /// As far as the publisher has told.
  fileprivate var revocations: UInt64 = 0
  private var ticket: UInt64 = 0

  fileprivate struct Waiting {
    let reply: @Sendable (AdminReply) -> Void
    var order: GateOrder
    /// In force; what is left is to write it down.
    var outcome: CommandOutcome?
    /// The disk was quicker than the publisher's word.
    var settled: Settled?
  }

  fileprivate struct Settled {
    let unsaved: String?
  }

  fileprivate func take(
    _ command: AdminCommand, _ reply: @escaping @Sendable (AdminReply) -> Void
  ) -> GateOrder {
    ticket += 1
    let order = GateOrder(ticket: ticket, command: command, askedAt: revocations)
    waiting[ticket] = Waiting(reply: reply, order: order)
    return order
  }
}

/// One line of what was done at the gates: for the journal and the audit.
struct GateRecord {
  var event: AuditRecord.Event
  var cluster: String?
  /// A release of this type alone.
  var type: String?
  var version: Version?
  var reason: String?
  var isAlarming = false
}

extension ControlLoop {
  // MARK: commands

  func carryOut(_ command: AdminCommand, _ reply: @escaping @Sendable (AdminReply) -> Void) {
    if let version = command.version, let error = VersionError(checking: version) {
      return reply(GateRefusal.version(error).reply)
    }
    // What is not on record is not done. Policy narrows all the same: that is no command.
    if let obstacle = audit.obstacle { return reply(.unrecorded(obstacle)) }
    if case .adopt(let source) = command { return adopt(source, reply) }
    let order = gateDesk.take(command, reply)
    guard let persistence, let version = command.version else { return enqueue(.gates(order)) }
    if !persistence.read(version, ticket: order.ticket, now: loop.wallClock) {
      refuse(order.ticket, .busy)
    }
  }

  private func adopt(_ source: String, _ reply: @escaping @Sendable (AdminReply) -> Void) {
    do throws(SourceSet.AdoptionRefusal) {
      try sources.adoptOffer(of: source)
      record(GateRecord(event: .adopt, reason: "source \(source)"))
      reply(.json(CommandOutcome(command: .adopt(source: source)).json))
    } catch {
      reply(error.reply(ForeignText.line(source)))
    }
  }

  /// A version was read from disk.
  func received(_ found: Result<KeptContent, StoreError>, ticket: UInt64) {
    guard var order = gateDesk.waiting[ticket]?.order else { return }
    switch found {
    case .success(let content):
      order.content = content
      enqueue(.gates(order))
    case .failure(let error): refuse(ticket, .store(error))
    }
  }

  private func refuse(_ ticket: UInt64, _ refusal: GateRefusal) {
    gateDesk.waiting.removeValue(forKey: ticket)?.reply(refusal.reply)
  }

  func noted(_ found: GateReport) {
    if let standings = found.standings { gateDesk.standings = standings }
    gateDesk.revocations = max(gateDesk.revocations, found.revocations)
    // First what was decided, then what the brake makes of it.
    if let answer = found.answer, case .success(let kept) = answer.outcome {
      record(GateRecord(answer.order.command, kept))
    }
    for event in found.events { record(GateRecord(event)) }
    guard let answer = found.answer else { return }
    let ticket = answer.order.ticket
    switch answer.outcome {
    case .failure(let refusal): refuse(ticket, refusal)
    case .success(let kept):
      let command = answer.order.command
      let held = found.events.compactMap { event in
        if case .held(let cluster, _, let reason) = event {
          CommandOutcome.Held(cluster: cluster, reason: reason)
        } else {
          nil
        }
      }
      let outcome = CommandOutcome(
        command: command, version: kept?.version.description, kept: kept?.kind.words, held: held)
      gateDesk.waiting[ticket]?.outcome = outcome
      if !answer.isBeingSaved {
        settled([ticket], unsaved: persistence == nil ? "state is not set" : "the disk is too slow")
      } else if let settled = gateDesk.waiting[ticket]?.settled {
        self.settled([ticket], unsaved: settled.unsaved)
      }
    }
  }

  /// Commands in force are on disk, or cannot be written there.
  func settled(_ tickets: [UInt64], unsaved: String?) {
    for ticket in tickets {
      settledImport(ticket, unsaved: unsaved)
      guard var outcome = gateDesk.waiting[ticket]?.outcome else {
        gateDesk.waiting[ticket]?.settled = GateDesk.Settled(unsaved: unsaved)
        continue
      }
      outcome.unsaved = unsaved
      gateDesk.waiting.removeValue(forKey: ticket)?.reply(.json(outcome.json))
    }
  }

  /// The one place where what was done at the gates is told.
  func record(_ record: GateRecord) {
    var fields: [TierEvent.Field] = []
    if let cluster = record.cluster { fields.append(.init("cluster", cluster)) }
    if let type = record.type { fields.append(.init("type", type)) }
    if let version = record.version { fields.append(.init("version", version.description)) }
    if let reason = record.reason { fields.append(.init("reason", reason)) }
    let entry = AuditRecord(
      record.event, cluster: record.cluster, type: record.type, version: record.version?.description,
      reason: record.reason)
    report(
      TierEvent(record.isAlarming ? .warning : .notice, "gate: " + record.event.rawValue, fields)
        .recording(entry))
  }

  // MARK: history

  func tellHistory(_ reply: @escaping @Sendable (AdminReply) -> Void) {
    let (desk, limits) = (desk, plan.history)
    let accepted =
      if let persistence {
        persistence.history(now: loop.wallClock) { found in
          switch found {
          case .success(let versions):
            reply(.json(HistoryEncoding(place: .disk, limits, versions).json))
          case .failure(let error): reply(GateRefusal.store(error).reply)
          }
        }
      } else {
        workers.publisher.submit {
          reply(.json(HistoryEncoding(place: .memory, limits, desk.keptVersions).json))
        }
      }
    if !accepted { reply(GateRefusal.busy.reply) }
  }
}

extension AdminCommand {
  fileprivate var auditEvent: AuditRecord.Event {
    switch self {
    case .rollback: .rollback
    case .pin: .pin
    case .unpin: .unpin
    case .freeze: .freeze
    case .thaw: .thaw
    case .release: .release
    case .adopt: .adopt
    }
  }
}

extension AdminReply {
  /// For whatever an operator wants done while that cannot be put on record. `obstacle`: why it cannot.
  static func unrecorded(_ obstacle: String) -> AdminReply {
    .error(status: 503, "Nothing was done, for it could not be put on record: \(obstacle)")
  }
}

extension SourceSet.AdoptionRefusal {
  fileprivate func reply(_ source: String) -> AdminReply {
    switch self {
    case .unknown(let known):
      .error(
        status: 404, "No source is called '\(source)'. The sources are: \(known.joined(separator: ", ")).")
    case .nothingOffered(let state, let reason):
      .error(
        status: 409,
        "The source '\(source)' is \(state.rawValue): it offers nothing to take over. "
          + (reason.map { "\(ForeignText.line($0)) " } ?? "")
          + "Only a source that is behind, or has turned empty, can be adopted.")
    }
  }
}

extension GateRecord {
  init(_ command: AdminCommand, _ kept: GateReport.Kept?) {
    self.init(event: command.auditEvent, cluster: command.cluster, version: kept?.version)
    if case .release(_, let type?) = command { self.type = TypeName(written: type)?.description ?? type }
  }

  init(_ event: GateEvent) {
    switch event {
    case .held(let cluster, let version, let reason):
      self.init(event: .hold, cluster: cluster, version: version, reason: reason, isAlarming: true)
    case .letGo(let cluster):
      self.init(event: .release, cluster: cluster, reason: "the sources no longer remove too much")
    }
  }
}

extension VersionError {
  fileprivate var httpStatus: Int {
    switch self {
    case .malformed: 400
    case .unknown: 404
    case .ambiguous: 409
    }
  }
}

extension GateError {
  fileprivate var httpStatus: Int {
    switch self {
    case .noSuchCluster: 404
    case .notPinned, .notHeld, .notHeldBack, .isPinned, .alreadyKept, .nothingToThaw: 409
    case .nothingToKeep: 503
    }
  }
}

extension StoreError {
  fileprivate var httpStatus: Int {
    switch self {
    case .noSuchVersion: 404
    case .ambiguousVersion: 409
    case .unreachable, .full, .readOnly, .inUse, .failed, .setAside, .unread, .unsettled: 503
    }
  }
}

extension GateStatus {
  init(_ standing: GateStanding) {
    self.init(
      kind: Kind(standing.kind), cluster: standing.cluster, version: standing.version.description,
      since: standing.since, reason: standing.reason,
      heldBack: HeldBack(
        added: standing.heldBack.added, changed: standing.heldBack.changed,
        removed: standing.heldBack.removed))
  }
}

extension GateStatus.Kind {
  fileprivate init(_ kind: Gate.Kind) {
    switch kind {
    case .held: self = .held
    case .pinned: self = .pinned
    case .frozen: self = .frozen
    case .rolledBack: self = .rolledBack
    }
  }
}

extension GateBook {
  /// These gates as this process goes on with them: what is kept bears our new instance in its path.
  func resumed(by me: PathElement) -> GateBook {
    var book = self
    book.update { gate in
      let base = gate.base
      gate.base = Snapshot(
        collections: base.collections, pending: base.pending, isComplete: base.isComplete,
        position: base.position.resumed(by: me), positions: base.positions.mapValues { $0.resumed(by: me) },
        removalCauses: base.removalCauses)
    }
    return book
  }
}

/// What was revoked lately, with how much there was before. Bounded: when it is full the older half goes.
struct RecentRevocations: Sendable {
  private var recent: [Merge.Revocation] = []
  private var forgotten: UInt64 = 0

  /// Reason: content is read and put in force within seconds.
  private static let most = 1024

  var count: UInt64 { forgotten + UInt64(recent.count) }

  mutating func append(_ revoked: [Merge.Revocation]) {
    recent += revoked
    guard recent.count > RecentRevocations.most else { return }
    let gone = recent.count - RecentRevocations.most / 2
    recent.removeFirst(gone)
    forgotten += UInt64(gone)
  }

  /// Those that are not forgotten.
  var remembered: [Merge.Revocation] { recent }

  /// Nil when some of them are forgotten.
  func since(_ count: UInt64) -> [Merge.Revocation]? {
    guard count >= forgotten else { return nil }
    return Array(recent.dropFirst(Int(clamping: count - forgotten)))
  }
}
