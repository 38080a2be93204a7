// The control loop's part of `snapshot export` and `snapshot import`: who is at it, how far they are, and what an
// import did. The work on bytes is the `manifests` worker's, the decision the publisher's.
//
//   import   receiving ─end─► checking ─whole─► deciding (its source is paused) ─► saving ─► done
//                └─── abandoned, silent, damaged, refused ────────┴──────────────────► done

import Admin
import Audit
import Downstream
import Gates
import Policy
import Primitives
import Ring
import SPIFFE
import Snapshots

final class TransferDesk {
  /// Exports under way at once. Reason: each holds the snapshot that it began with.
  static let exportsMost = 4
  /// A transfer that nobody goes on with is given up after this.
  static let silenceMost: Duration = .seconds(30)
  /// How long an asker waits for the end of an import before it is told to ask again. Reason: below the 5 s after which
  /// the admin server answers by itself.
  static let patience: Duration = .seconds(2)

  fileprivate struct Export {
    let session: ExportSession
    var lastUsed: Instant
    /// Its record is in the log: not a byte leaves before.
    var isRecorded = false
  }

  fileprivate struct Import {
    enum State {
      case receiving
      /// The file is whole, and being looked at or put in force.
      case ending
      case saving(CarryReport)
      case done(AdminReply)
    }

    let ticket: UInt64
    let session: ImportSession
    var state = State.receiving
    var lastUsed: Instant
    /// The disk was quicker than the publisher's word.
    var settled: Settled?
    var asker: (since: Instant, reply: @Sendable (AdminReply) -> Void)?

    var isOver: Bool { if case .done = state { true } else { false } }
  }

  fileprivate struct Settled { let unsaved: String? }

  /// A file was looked at as a whole, or found to be none.
  struct Checked: Sendable {
    let ticket: UInt64
    let outcome: Result<CarriedSnapshot, CarryRefusal>
  }

  fileprivate var exports: [UInt64: Export] = [:]
  fileprivate var current: Import?
  fileprivate let checked: Mailbox<Checked>
  private var ticket: UInt64 = 0

  init(wake: @escaping Waker) { checked = Mailbox(capacity: 4, wake: wake) }

  /// Apart from the tickets of `GateDesk`, which count from below.
  fileprivate func nextTicket() -> UInt64 {
    ticket += 1
    return 1 << 62 | ticket
  }

  /// Gives up what nobody goes on with.
  fileprivate func expire(now: Instant) {
    exports = exports.filter { now - $0.value.lastUsed < TransferDesk.silenceMost }
    guard let found = current, now - found.lastUsed >= TransferDesk.silenceMost else { return }
    switch found.state {
    case .receiving, .done: current = nil
    case .ending, .saving: break
    }
  }
}

extension ControlLoop {
  func carryOut(_ transfer: SnapshotTransfer, _ reply: @escaping @Sendable (AdminReply) -> Void) {
    transfers.expire(now: loop.now)
    switch transfer {
    case .beginExport(let identity):
      if let refusal = beginExport(as: identity, reply) { reply(refusal) }
    case .readExport(let ticket, let from): readExport(ticket, from, reply)
    case .beginImport(let terms): reply(beginImport(terms))
    case .writeImport(let ticket, let from, let bytes): writeImport(ticket, from, bytes, reply)
    case .endImport(let ticket, let bytes): endImport(ticket, bytes, reply)
    case .abandonImport(let ticket): reply(abandonImport(ticket))
    }
  }

  /// Once a second: what waits too long is told so.
  func beatTransfers() {
    transfers.expire(now: loop.now)
    guard let asker = transfers.current?.asker, loop.now - asker.since >= TransferDesk.patience else {
      return
    }
    transfers.current?.asker = nil
    var writer = JSONWriter()
    writer.object { $0.field("pending", true) }
    asker.reply(.json(status: 202, writer.bytes))
  }

  // MARK: out

  /// Nil: it is answered once its record is in the log.
  private func beginExport(
    as identity: String?, _ reply: @escaping @Sendable (AdminReply) -> Void
  ) -> AdminReply? {
    if let obstacle = audit.obstacle { return .unrecorded(obstacle) }
    guard transfers.exports.count < TransferDesk.exportsMost else {
      return .error(status: 503, "\(TransferDesk.exportsMost) exports are under way. Try again later.")
    }
    guard let generation = crossings.generation.value, generation.snapshot.isComplete else {
      return .error(
        status: 503,
        "There is nothing complete to export yet: some source has not delivered (`meshrelay status`).")
    }
    var view: View?
    if let identity {
      do {
        let index = try generation.rules.index(of: try SPIFFEID(parsing: identity))
        view = generation.views[generation.place(ofCluster: index)]
      } catch let error as IdentityRefusal {
        return refusal(error, generation.rules)
      } catch {
        return .error(status: 400, "\(error)")
      }
    }
    let snapshot = view?.snapshot ?? generation.snapshot
    let content =
      view.map { view in
        Dictionary(
          uniqueKeysWithValues: snapshot.collections.keys.map { ($0, view.collections[$0] ?? .empty) })
      } ?? snapshot.collections
    let version = Snapshot(
      collections: content, pending: [], isComplete: true, position: snapshot.position
    ).version
    let header = ArchiveHeader(
      node: me.node, program: self.version, exportedAt: loop.wallClock, identity: identity, version: version,
      position: snapshot.position, types: 0, resources: 0)
    let session = ExportSession(ArchiveWriter(header, content, positions: snapshot.positions))
    let ticket = transfers.nextTicket()
    let answer = ExportTicket(
      ticket: ticket, version: version.description, resources: session.header.resources)
    transfers.exports[ticket] = TransferDesk.Export(session: session, lastUsed: loop.now)
    afterRecord(event(of: session.header), undone: "not begun, nothing has left") { [weak self] obstacle in
      if obstacle == nil {
        self?.transfers.exports[ticket]?.isRecorded = true
      } else {
        self?.transfers.exports[ticket] = nil
      }
      reply(obstacle.map { .unrecorded($0) } ?? .json(answer.json))
    }
    return nil
  }

  private func event(of header: ArchiveHeader) -> TierEvent {
    var record = AuditRecord(
      .export, version: header.version.description, sequence: header.position.sequence,
      reason: header.identity == nil ? "everything" : "what an identity is served")
    record.spiffeID = header.identity.flatMap { try? SPIFFEID(parsing: $0) }
    return TierEvent(
      .notice, "a snapshot is exported",
      [
        .init("version", header.version.description), .init("as", header.identity ?? "everything"),
        .init("resources", String(header.resources)),
      ]
    ).recording(record)
  }

  private func readExport(
    _ ticket: UInt64, _ from: UInt64, _ reply: @escaping @Sendable (AdminReply) -> Void
  ) {
    guard let export = transfers.exports[ticket], export.isRecorded else {
      return reply(.noTransfer("export"))
    }
    if let obstacle = audit.obstacle {
      transfers.exports[ticket] = nil
      return reply(.unrecorded(obstacle))
    }
    transfers.exports[ticket]?.lastUsed = loop.now
    let session = export.session
    if !workers.manifests.submit({ reply(session.read(from: from)) }) { reply(GateRefusal.busy.reply) }
  }

  // MARK: in

  private func beginImport(_ terms: ImportTerms) -> AdminReply {
    if let obstacle = audit.obstacle { return .unrecorded(obstacle) }
    if let current = transfers.current, !current.isOver {
      return .error(
        status: 409,
        "Another import is under way. If nobody goes on with it, it is given up after "
          + "\(Int(TransferDesk.silenceMost.inSeconds)) s.")
    }
    let target: ImportTarget
    do throws(CarryRefusal) {
      target = try sources.importTarget(terms.source, plan, isDryRun: terms.isDryRun)
    } catch {
      return error.reply
    }
    let ticket = transfers.nextTicket()
    transfers.current = TransferDesk.Import(
      ticket: ticket, session: ImportSession(target, terms, limits: plan.limits, now: loop.wallClock),
      lastUsed: loop.now)
    return .json(ImportTicket(ticket: ticket, source: target.source).json)
  }

  private func writeImport(
    _ ticket: UInt64, _ from: UInt64, _ bytes: [UInt8], _ reply: @escaping @Sendable (AdminReply) -> Void
  ) {
    guard let current = transfers.current, current.ticket == ticket, case .receiving = current.state else {
      return reply(.noTransfer("import"))
    }
    transfers.current?.lastUsed = loop.now
    let (session, checked) = (current.session, transfers.checked)
    let accepted = workers.manifests.submit {
      reply(
        session.write(bytes, from: from) { refusal in
          checked.push(TransferDesk.Checked(ticket: ticket, outcome: .failure(refusal)))
        })
    }
    if !accepted { reply(GateRefusal.busy.reply) }
  }

  private func endImport(
    _ ticket: UInt64, _ bytes: UInt64, _ reply: @escaping @Sendable (AdminReply) -> Void
  ) {
    guard let current = transfers.current, current.ticket == ticket else {
      return reply(.noTransfer("import"))
    }
    transfers.current?.lastUsed = loop.now
    if case .done(let answer) = current.state { return reply(answer) }
    transfers.current?.asker = (loop.now, reply)
    guard case .receiving = current.state else { return }
    transfers.current?.state = .ending
    let (session, checked) = (current.session, transfers.checked)
    let accepted = workers.manifests.submit {
      checked.push(TransferDesk.Checked(ticket: ticket, outcome: session.finish(bytes: bytes)))
    }
    if !accepted { finishImport(GateRefusal.busy.reply) }
  }

  private func abandonImport(_ ticket: UInt64) -> AdminReply {
    guard let current = transfers.current, current.ticket == ticket else { return .noTransfer("import") }
    guard case .receiving = current.state else {
      return .error(
        status: 409, "It is too late: the file is all there, and being put in force, or was refused.")
    }
    transfers.current = nil
    var record = AuditRecord(.import, reason: "given up by who began it; nothing was taken over")
    record.source = current.session.target.source
    report(TierEvent(.notice, "an import was given up").recording(record))
    var writer = JSONWriter()
    writer.object { $0.field("abandoned", true) }
    return .json(writer.bytes)
  }

  /// Call when the loop was woken.
  func pickUpTransfers() {
    for checked in transfers.checked.drain() where checked.ticket == transfers.current?.ticket {
      decide(checked)
    }
  }

  private func decide(_ checked: TransferDesk.Checked) {
    guard let session = transfers.current?.session else { return }
    // It was asked at the beginning; that may be long ago.
    if let obstacle = audit.obstacle { return finishImport(.unrecorded(obstacle)) }
    do throws(CarryRefusal) {
      let carried = try checked.outcome.get()
      // It may have come back, or been taken out of the configuration, meanwhile.
      let target = try sources.importTarget(session.target.source, plan, isDryRun: session.terms.isDryRun)
      if !session.terms.isDryRun { sources.pause(target.source) }
      enqueue(
        .carried(
          CarryOrder(
            ticket: checked.ticket, source: target.source, isForeign: target.isForeign, terms: session.terms,
            carried: carried)))
    } catch {
      refuseImport(error)
    }
  }

  private func refuseImport(_ refusal: CarryRefusal) {
    var record = AuditRecord(.import, reason: "refused: " + refusal.description)
    record.source = transfers.current?.session.target.source
    report(
      TierEvent(.warning, "an import is refused", [.init("reason", refusal.description)]).recording(record))
    finishImport(refusal.reply)
  }

  /// The publisher has decided.
  func noted(_ found: CarryReport?) {
    guard let found else { return }
    let order = found.order
    let isDone = (try? found.outcome.get()) != nil
    if !order.terms.isDryRun {
      sources.resume(order.source, plan, held: found.held, isImported: isDone)
    }
    guard transfers.current?.ticket == order.ticket else { return }
    switch found.outcome {
    case .failure(let refusal): refuseImport(refusal)
    case .success(let outcome) where order.terms.isDryRun:
      tellDryRun(outcome, order.ticket)
    case .success(let outcome):
      record(outcome, order)
      transfers.current?.state = .saving(found)
      switch found.isBeingSaved {
      case _ where persistence == nil: settledImport(order.ticket, unsaved: "state is not set")
      case nil: settledImport(order.ticket, unsaved: nil)
      case false?: settledImport(order.ticket, unsaved: "the disk is too slow")
      case true?:
        if let settled = transfers.current?.settled { settledImport(order.ticket, unsaved: settled.unsaved) }
      }
    }
  }

  /// It says what is served, and so it goes the way of what shows content.
  private func tellDryRun(_ outcome: ImportOutcome, _ ticket: UInt64) {
    let what = "import, as a dry run"
    let event = TierEvent(.info, "an operator looked at content", [.init("what", what)])
      .recording(AuditRecord(.admin, version: outcome.version, reason: what))
    afterRecord(event, undone: "nothing was shown: " + what) { [weak self] obstacle in
      guard let self, transfers.current?.ticket == ticket else { return }
      finishImport(obstacle.map { .unrecorded($0) } ?? .json(outcome.json))
    }
  }

  private func record(_ outcome: ImportOutcome, _ order: CarryOrder) {
    let header = order.carried.header
    var record = AuditRecord(
      .import, version: outcome.version, sequence: outcome.sequence,
      reason: "exported by \(header.node) at \(header.exportedAt.rfc3339)"
        + (order.terms.adopts ? ", adopted on an operator's word" : ""))
    record.source = order.source
    record.added = NameList(outcome.added.names)
    record.changed = NameList(outcome.changed.names)
    record.removed = NameList(outcome.removed.names)
    report(
      TierEvent(
        .notice, "a snapshot was imported",
        [
          .init("source", order.source), .init("version", outcome.version), .init("origin", outcome.origin),
          .init("sequence", String(outcome.sequence)), .init("exported_by", header.node),
          .init("set_aside", String(outcome.setAside.count)),
        ]
      ).recording(record))
  }

  /// An import is on disk, or cannot be written there.
  func settledImport(_ ticket: UInt64, unsaved: String?) {
    guard transfers.current?.ticket == ticket else { return }
    guard case .saving(let found)? = transfers.current?.state, var outcome = try? found.outcome.get() else {
      transfers.current?.settled = TransferDesk.Settled(unsaved: unsaved)
      return
    }
    outcome.unsaved = unsaved
    finishImport(.json(outcome.json))
  }

  private func finishImport(_ answer: AdminReply) {
    transfers.current?.state = .done(answer)
    transfers.current?.lastUsed = loop.now
    let asker = transfers.current?.asker
    transfers.current?.asker = nil
    asker?.reply(answer)
  }
}

extension AdminReply {
  fileprivate static func noTransfer(_ kind: String) -> AdminReply {
    .error(
      status: 410,
      "There is no such \(kind): it has ended, was given up after "
        + "\(Int(TransferDesk.silenceMost.inSeconds)) s of silence, or the relay was restarted. Begin again.")
  }
}
