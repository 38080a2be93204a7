// The publisher: merges what sources say, cuts the views of every policy class, publishes generations.
//
// Runs on the `publisher` worker (inline in the simulator), one job at a time. The control loop only
// hands over updates and rules and hears what came of them.

import Admin
import Audit
import Gates
import Policy
import Primitives
import Snapshots
import Store
import Synchronization

/// What the control loop hears after a job.
struct PublishReport: Sendable {
  /// By source: objects set aside in this job because the source may not supply them.
  var setAside: [String: [Rejection]] = [:]
  var conflicts: [Merge.Conflict] = []
  /// Resources by source.
  var resources: [String: Int] = [:]
  var pendingTypes: [TypeName] = []
  var isComplete = false
  /// Set when a generation was published.
  var published: PublishedFacts?
  var gates = GateReport()
  /// What became of an import.
  var carried: CarryReport?
  /// Set when a shadow policy was counted anew.
  var shadow: ShadowFacts?
}

/// A published generation in a few words.
struct PublishedFacts: Sendable {
  var number: UInt64
  var version: Version
  var position: Position
  var resources: Int
  var byType: [(type: TypeName, count: Int)]
  /// Names that were set or removed by this step, all types together.
  var changed: Int
  var removed: Int
}

/// What the control loop hands to the publisher.
enum PublishJob: Sendable {
  case updates([SourceUpdate])
  case rules(PolicyRules)
  case sources([MergeSource], PublishingDesk.Truth)
  /// What was served before a restart; before any update.
  case restore(Restored)
  case brake(Brake)
  /// What a source says it grants us; nil: it does not say.
  case granted(source: String, String?)
  case gates(GateOrder)
  case carried(CarryOrder)
  /// Have the newest snapshot saved again: the disk may take it now.
  case save
  /// How much of the past is kept in memory from now on, or was just changed on disk.
  case history(HistoryLimits)
  /// What is evaluated beside the rules; nil: nothing any more.
  case shadow(PolicyRules?)
}

/// The publisher's state and jobs.
final class PublishingDesk: Sendable {
  /// How this relay stands to the truth it serves.
  enum Truth: Sendable {
    /// It is the origin: it gives positions itself, under this name.
    case origin(String)
    /// It passes positions of its upstreams on. Where they tell none (classic MCP, istiod), it is the first that can
    /// number what it hears, and does so under this name.
    case relayed(orElse: String)
  }

  struct State: Sendable {
    var merge: Merge
    var publisher: Publisher
    var truth: Truth
    var position: Position
    /// By source, what its upstream said last.
    var positions: [String: Position] = [:]
    /// By source, where the content of its types stands.
    var standings: [String: [TypeName: Position]] = [:]
    /// `standings` as the newest snapshot shows them.
    var publishedStandings: [String: [TypeName: Position]] = [:]
    var order: [String]
    /// Nil: versions are kept on disk.
    var history: KeptVersions?
    /// The shadow policy's counts; nil: there is none.
    var shadow: ShadowBook?
    /// What was revoked lately, for content that was read before.
    var revoked = RecentRevocations()
  }

  let state: Mutex<State>
  let me: PathElement
  private let publish: @Sendable (Generation) -> Void
  /// Nil: no audit is kept.
  private let audit: AuditLane?
  /// Nil: nothing is kept over a restart.
  private let persistence: Persistence?

  init(
    sources: [MergeSource], rules: PolicyRules, brake: Brake, history: KeptVersions?, truth: Truth,
    me: PathElement, persistence: Persistence?, audit: AuditLane? = nil,
    canonicalize: BodyCanonicalizer? = nil,
    publish: @escaping @Sendable (Generation) -> Void
  ) {
    self.me = me
    self.audit = audit
    self.persistence = persistence
    self.publish = publish
    state = Mutex(
      State(
        merge: Merge(sources: sources),
        publisher: Publisher(
          rules: rules, brake: brake, sources: sources.map(\.name), canonicalize: canonicalize),
        truth: truth, position: Snapshot.nothing.position, order: sources.map(\.name), history: history))
  }

  func perform(_ job: PublishJob, now: Timestamp) -> PublishReport {
    switch job {
    case .updates(let updates): apply(updates, now: now)
    case .rules(let rules): replace(rules: rules, now: now)
    case .sources(let sources, let truth): replace(sources: sources, truth: truth, now: now)
    case .restore(let restored): restore(restored, now: now)
    case .brake(let brake): replace(brake: brake, now: now)
    case .granted(let source, let text): note(grant: text, of: source, now: now)
    case .gates(let order): decide(order, now: now)
    case .carried(let order): carry(order, now: now)
    case .save: saveAgain(now: now)
    case .history(let limits): replace(history: limits, now: now)
    case .shadow(let rules): replace(shadow: rules)
    }
  }

  /// Counts another shadow policy; nil: none any more.
  private func replace(shadow rules: PolicyRules?) -> PublishReport {
    state.withLock { state in
      var report = PublishReport()
      report.fill(from: state.merge, state.order)
      let generation = state.publisher.current
      state.shadow = rules.map {
        ShadowBook(enforced: generation.rules, shadow: $0, generation.snapshot)
      }
      report.shadow = state.shadow.map(ShadowFacts.init)
      return report
    }
  }

  /// Takes over steps of sources, in order, and publishes once if they changed anything that shows.
  private func apply(_ updates: [SourceUpdate], now: Timestamp) -> PublishReport {
    state.withLock { state in
      var report = PublishReport()
      var step = Merge.Change()
      for update in updates {
        state.note(update)
        for part in state.byCause(update) {
          let change = state.merge.apply(part)
          report.note(change, of: update.source)
          step.append(change)
        }
      }
      finish(&state, step, &report, now: now)
      return report
    }
  }

  /// What is kept of a source is cut by what it grants now, whether or not it still has anything to take back.
  private func note(grant text: String?, of source: String, now: Timestamp) -> PublishReport {
    state.withLock { state in
      var report = PublishReport()
      report.fill(from: state.merge, state.order)
      guard state.publisher.note(grant: text, of: source) else { return report }
      var step = Merge.Change()
      step.revoked = state.publisher.ungranted
      state.publisher.dropOutdatedForms()
      let rights = state.publisher.rights
      finish(&state, step, &report, because: "grant", isDue: true, rights: rights, now: now)
      // After the publication: what nobody is served may wait for what somebody loses.
      if !rights.isUnlimited { state.history?.restrict(to: rights.admits) }
      return report
    }
  }

  /// Continues with other rules.
  private func replace(rules: PolicyRules, now: Timestamp) -> PublishReport {
    state.withLock { state in
      var report = PublishReport()
      let publication = state.publisher.replace(rules: rules)
      publish(publication, Merge.Change(), state, &report, because: "policy", now)
      state.shadow = state.shadow?.beside(rules, publication.generation.snapshot)
      report.shadow = state.shadow.map(ShadowFacts.init)
      saveGates(publication, state, now)
      return report
    }
  }

  private func replace(brake: Brake, now: Timestamp) -> PublishReport {
    state.withLock { state in
      var report = PublishReport()
      let publication = state.publisher.replace(brake: brake)
      publish(publication, Merge.Change(), state, &report, because: "brake", now)
      saveGates(publication, state, now)
      return report
    }
  }

  private func replace(history limits: HistoryLimits, now: Timestamp) -> PublishReport {
    state.withLock { state in
      state.history?.follow(versions: limits.versions, age: limits.age, now: now)
    }
    return saveAgain(now: now)
  }

  private func saveAgain(now: Timestamp) -> PublishReport {
    state.withLock { state in
      var report = PublishReport()
      report.fill(from: state.merge, state.order)
      save(state, state.snapshot(me), .init(), now)
      return report
    }
  }

  /// What the brake let go stays so over a restart.
  private func saveGates(_ publication: Publication, _ state: State, _ now: Timestamp) {
    guard !publication.events.isEmpty else { return }
    save(state, publication.generation.snapshot, .init(gates: state.publisher.gates), now)
  }

  /// Carries out what an operator decided. An origin publishes it as something newer, so that no tier below
  /// takes what is put back for something that is behind.
  private func decide(_ order: GateOrder, now: Timestamp) -> PublishReport {
    state.withLock { state in
      var report = PublishReport()
      do throws(GateRefusal) {
        let command = try order.resolved(
          state.history, state.revoked.since(order.askedAt),
          admits: { state.merge.maySupply($0) && state.publisher.isGranted($0) })
        report.gates.answer = try carryOut(command, order, &state, &report, now)
      } catch {
        report.fill(from: state.merge, state.order)
        report.gates.answer = .init(order: order, outcome: .failure(error), isBeingSaved: false)
      }
      return report
    }
  }

  private func carryOut(
    _ command: GateCommand, _ order: GateOrder, _ state: inout State, _ report: inout PublishReport,
    _ now: Timestamp
  ) throws(GateRefusal) -> GateReport.Answer {
    let position = PublishingDesk.position(state, now: now, me: me, changed: true)
    var next = state
    next.position = position
    let snapshot = next.snapshot(me)
    let publication: Publication
    do throws(GateError) {
      publication = try next.publisher.perform(command, snapshot: snapshot, now: now)
    } catch {
      throw .gate(error)
    }
    state = next
    publish(publication, Merge.Change(), state, &report, because: order.command.name, now)
    let gates = state.publisher.gates
    let gate: Gate? =
      switch command {
      case .rollBack(_, let cluster), .freeze(let cluster): cluster.map { gates.gate(for: $0) } ?? gates.all
      case .pin(let cluster, _): gates.gate(for: cluster)
      // One that was opened leaves the cluster behind what there is for all.
      case .unpin(let cluster), .release(let cluster, _):
        gates.gate(for: cluster).flatMap { $0.kind == .held ? nil : $0 }
      case .thaw: nil
      }
    let isBeingSaved = save(
      state, snapshot, .init(gates: gates, ticket: order.ticket), now)
    return GateReport.Answer(
      order: order, outcome: .success(gate.map { .init(version: $0.version, kind: $0.kind) }),
      isBeingSaved: isBeingSaved)
  }

  /// A version in memory.
  func keptContent(_ prefix: String) -> Result<KeptContent, VersionError> {
    state.withLock { $0.history?.find(prefix) ?? .failure(.unknown(prefix)) }
  }

  /// What of a kept version could be put in force now.
  func restricted(_ content: KeptContent) -> KeptContent {
    let (merge, publisher) = state.withLock { ($0.merge, $0.publisher) }
    return content.restricted { merge.maySupply($0) && publisher.isGranted($0) }
  }

  /// The versions in memory, newest first.
  var keptVersions: [KeptVersion] { state.withLock { $0.history?.all ?? [] } }

  /// Continues with other sources.
  private func replace(sources: [MergeSource], truth: Truth, now: Timestamp) -> PublishReport {
    state.withLock { state in
      var report = PublishReport()
      state.truth = truth
      state.order = sources.map(\.name)
      var step = Merge.Change()
      step.append(state.merge.replace(sources: sources))
      let merge = state.merge
      _ = state.publisher.restrictKept { merge.maySupply($0) }
      state.publisher.follow(sources: state.order)
      finish(&state, step, &report, now: now)
      return report
    }
  }

  /// Serves what was saved before a restart, until the sources have answered.
  private func restore(_ restored: Restored, now: Timestamp) -> PublishReport {
    state.withLock { state in
      var report = PublishReport()
      let complete = Set(restored.sources.filter(\.isComplete).map(\.name))
      let step = state.merge.restore(restored.collections, completeSources: complete)
      for mark in restored.sources {
        state.positions[mark.name] = mark.position
        state.standings[mark.name] = mark.standings(of: restored.collections.keys)
      }
      state.position = restored.position.resumed(by: me)
      let snapshot = state.snapshot(me)
      state.publisher.restore(gates: restored.gates.resumed(by: me))
      state.publisher.restore(memory: restored.memory)
      let before = state.publisher.current.snapshot
      publish(
        state.publisher.apply(step, snapshot: snapshot, now: now), step, state, &report, because: "restored",
        now)
      count(&state, step, from: before, to: snapshot, &report)
      return report
    }
  }

  /// The newest snapshot: for dump and explain.
  var snapshot: Snapshot { state.withLock { $0.snapshot(me) } }

  /// Publishes a step of sources, if it changed anything that shows or `isDue`, and has it saved. True: `ticket` is
  /// answered when that is done; false: it is not being saved; nil: there was nothing to do. `rights`: what of the
  /// past may be kept, where that has changed.
  @discardableResult
  func finish(
    _ state: inout State, _ step: Merge.Change, _ report: inout PublishReport,
    because reason: String = "source",
    isDue: Bool = false, rights: KeptRights? = nil, ticket: UInt64? = nil, now: Timestamp
  ) -> Bool? {
    report.fill(from: state.merge, state.order)
    // A restart that finds what was served before is nothing new: it must not pass for newer than another replica.
    let isNew = !step.types.isEmpty || state.position.origin.isEmpty
    let position = PublishingDesk.position(state, now: now, me: me, changed: isNew)
    let moved = state.standings != state.publishedStandings
    guard isDue || !step.isEmpty || !step.revoked.isEmpty || position != state.position || moved else {
      return nil
    }
    state.position = position
    state.publishedStandings = state.standings
    let snapshot = state.snapshot(me)
    let before = state.publisher.current.snapshot
    let publication = state.publisher.apply(step, snapshot: snapshot, now: now)
    publish(publication, step, state, &report, because: reason, now)
    count(&state, step, from: before, to: snapshot, &report)
    state.history?.erase(step.revoked)
    state.history?.note(snapshot, step, now: now)
    state.revoked.append(step.revoked)
    let gates = publication.events.isEmpty ? nil : state.publisher.gates
    return save(
      state, snapshot, .init(gates: gates, revoked: step.revoked, rights: rights, ticket: ticket), now)
  }

  /// After the publication: nobody who is served waits for a shadow.
  private func count(
    _ state: inout State, _ step: Merge.Change, from old: Snapshot, to new: Snapshot,
    _ report: inout PublishReport
  ) {
    state.shadow?.apply(step, from: old, to: new)
    report.shadow = state.shadow.map(ShadowFacts.init)
  }

  private func publish(
    _ publication: Publication, _ step: Merge.Change, _ state: State, _ report: inout PublishReport,
    because reason: String, _ now: Timestamp
  ) {
    // Recorded first: what serve loops deliver of it stands behind its names in the log.
    audit?.hand(
      publication.records(reason: reason, now: now),
      brief: { publication.records(reason: reason, isBrief: true, now: now) },
      sequence: publication.generation.snapshot.position.sequence)
    publish(publication.generation)
    report.fill(from: state.merge, state.order)
    report.published = facts(of: publication.generation, step)
    report.gates.note(publication, state.publisher.standings)
    report.gates.revocations = state.revoked.count
    // By now most of it is written: whoever is served made records of his own.
    audit?.tell()
  }

  /// False when nothing is kept on disk, or not now.
  @discardableResult
  private func save(
    _ state: State, _ snapshot: Snapshot, _ extras: Persistence.Extras, _ now: Timestamp
  ) -> Bool {
    guard let persistence, !snapshot.collections.isEmpty else { return false }
    let complete = Set(state.merge.completeSources)
    let marks = state.order.map {
      SourceMark(
        name: $0, isComplete: complete.contains($0), position: state.positions[$0],
        positions: state.standings[$0] ?? [:])
    }
    return persistence.save(
      snapshot, sources: marks, memory: state.publisher.memory, extras, now: now)
  }

  /// An origin numbers its own changes; a relay repeats where its most preferred upstream stands.
  private static func position(
    _ state: State, now: Timestamp, me: PathElement, changed: Bool
  ) -> Position {
    switch state.truth {
    case .origin(let name):
      return changed ? next(state, name, now, me) : state.position
    case .relayed(let name):
      if let first = state.order.lazy.compactMap({ state.positions[$0] }).first {
        return first.passed(by: me)
      }
      return changed ? next(state, name, now, me) : state.position
    }
  }

  private static func next(_ state: State, _ origin: String, _ now: Timestamp, _ me: PathElement) -> Position
  {
    Position(
      origin: origin, sequence: Position.nextSequence(after: state.position.sequence, at: now),
      published: now, path: [me])
  }

  private func facts(of generation: Generation, _ step: Merge.Change) -> PublishedFacts {
    let snapshot = generation.snapshot
    return PublishedFacts(
      number: generation.number, version: snapshot.version, position: snapshot.position,
      resources: snapshot.count,
      byType: snapshot.collections.map { (type: $0.key, count: $0.value.count) }
        .sorted { $0.type < $1.type },
      changed: step.types.reduce(0) { $0 + $1.upserts.count },
      removed: step.types.reduce(0) { $0 + $1.removals.count })
  }
}

extension ShadowFacts {
  fileprivate init(_ book: ShadowBook) { self.init(hash: book.rules.hash, differences: book.differences) }
}
