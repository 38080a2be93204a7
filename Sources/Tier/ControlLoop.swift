// One relay without a thread of its own: sources in, generations out, and the answers about both.
//
// The control loop moves values. It dials upstreams, watches directories and identity, hands updates to the
// publisher and generations to the serve loops, and answers admin requests. What blocks runs on workers; in
// the simulator those run inline and everything below runs on simulated drivers.

public import Admin
import Audit
public import Downstream
import Gates
import Manifests
public import Metrics
public import Policy
public import Primitives
public import Ring
import SPIFFE
import Snapshots
import Store
public import Trail
import Trust
import Upstream

/// The workers of one relay.
public struct Workers: Sendable {
  public var identity: any Worker
  public var manifests: any Worker
  public var publisher: any Worker
  public var resolver: any Worker
  public var store: any Worker

  public init(
    identity: any Worker, manifests: any Worker, publisher: any Worker, resolver: any Worker,
    store: any Worker
  ) {
    self.identity = identity
    self.manifests = manifests
    self.publisher = publisher
    self.resolver = resolver
    self.store = store
  }

  /// Everything at once on the caller's thread: simulation and tests.
  public static var inline: Workers {
    let worker = InlineWorker()
    return Workers(identity: worker, manifests: worker, publisher: worker, resolver: worker, store: worker)
  }
}

/// How the control loop reaches a serve loop.
public struct ServeHandle: Sendable {
  public var commands: Mailbox<ServeCommand>
  public var wake: Waker

  public init(commands: Mailbox<ServeCommand>, wake: @escaping Waker) {
    self.commands = commands
    self.wake = wake
  }
}

public final class ControlLoop: TimerHandler {
  /// A question of the admin interface and where its answer goes.
  struct Question: Sendable {
    let request: AdminRequest
    let reply: @Sendable (AdminReply) -> Void
  }

  public let loop: EventLoop
  let crossings: ServeCrossings
  let serving: [ServeHandle]
  let workers: Workers
  let me: PathElement
  let version: String
  let report: (TierEvent) -> Void
  private let asked: Mailbox<Question>
  /// Never full: there is one job at a time. Apart from `asked`, which others can fill.
  private let outcomes: Mailbox<PublishReport>
  /// One per serve loop, then our own.
  let shards: [MetricShard]
  let desk: PublishingDesk
  /// Where everything on this loop is recorded.
  public let audit: AuditDesk
  let persistence: Persistence?
  /// Why the newest snapshot is not on disk; nil while it is, or nothing is kept.
  var stateError: String?
  private var savedAgainAt: Instant
  var plan: TierPlan
  private let files: FilesInForce
  var configStatus: ConfigStatus
  var policyStatus: PolicyStatus
  var rules: PolicyRules
  let identity: IdentityWatch
  let sources: SourceSet
  let gateDesk = GateDesk()
  let records = RecordDesk()
  let transfers: TransferDesk
  let grantDesk: GrantDesk
  var shadowDesk = ShadowDesk()
  private let ownShard = MetricShard()
  /// As admission has it, for what redactions leave.
  let canonicalize: BodyCanonicalizer = CanonicalForm().bodyCanonicalizer
  private var tickets = TicketRotation()
  /// When each serve loop last answered a beat.
  private var answeredAt: [Instant]
  /// The journal was told that what is served may be out of date.
  private var alarmed = false
  var published: PublishedFacts?
  var isComplete = false
  var pendingTypes: [TypeName] = []
  private var jobs: [PublishJob] = []
  private var publishing = false
  private var questions: [UInt64: PendingQuestion] = [:]
  private var streamQuestions = StreamQuestions()
  /// Above every `ControlTimer`.
  private var nextTicket: UInt64 = 16
  /// Set once the serve loops were told to drain; called when the last has.
  private var drained: (() -> Void)?
  private var drainedLoops: Set<Int> = []

  /// A status request that waits for what the serve loops know of their clients.
  struct PendingQuestion {
    var missing: Set<Int>
    var clients: [ClientFacts] = []
    var sinks: [SinkFacts] = []
    let answer: ([ClientFacts], [SinkFacts]) -> Void
    let deadline: TimerID
  }

  public init(
    plan: TierPlan, rules: PolicyRules, files: FilesInForce = FilesInForce(), loop: EventLoop,
    workers: Workers,
    crossings: ServeCrossings, serving: [ServeHandle], instance: String, version: String,
    shards: [MetricShard], seed: UInt64, trail: TrailWriter? = nil,
    report journal: @escaping (TierEvent) -> Void
  ) {
    let audit = AuditDesk(trail, loop: loop, report: journal)
    let report: (TierEvent) -> Void = { event in
      if let record = event.record { audit.record(record) }
      journal(event)
    }
    self.audit = audit
    self.plan = plan
    self.rules = rules
    self.loop = loop
    self.workers = workers
    self.crossings = crossings
    self.serving = serving
    self.version = version
    self.shards = shards + [ownShard]
    self.report = report
    savedAgainAt = loop.now
    answeredAt = [Instant](repeating: loop.now, count: serving.count)
    me = PathElement(instance: instance, node: plan.node)
    asked = Mailbox(capacity: plan.limits.controlMailbox, wake: loop.waker)
    outcomes = Mailbox(capacity: 4, wake: loop.waker)
    transfers = TransferDesk(wake: loop.waker)
    crossings.sourceTrustDomains.publish(plan.upstreamTrustDomains)
    self.files = files
    configStatus = ConfigStatus(startedWith: files.configProblems, loadedAt: loop.wallClock)
    policyStatus = PolicyStatus(startedWith: files, loadedAt: loop.wallClock, hash: rules.hash)
    persistence = plan.state.map {
      Persistence(
        folder: $0, history: plan.history, heedsRefusals: plan.isCompanion, worker: workers.store,
        limits: plan.limits, wake: loop.waker)
    }
    let wakes = serving.map(\.wake)
    desk = PublishingDesk(
      sources: SourceSet.mergeSources(plan), rules: rules, brake: plan.brake,
      history: plan.state == nil
        ? KeptVersions(versions: plan.history.versions, age: plan.history.age) : nil,
      truth: SourceSet.truth(plan), me: me, persistence: persistence, audit: audit.publisher,
      canonicalize: canonicalize,
      publish: { generation in
        crossings.generation.publish(generation)
        for wake in wakes { wake() }
      })
    grantDesk = GrantDesk(worker: workers.store, wake: loop.waker, report: report)
    sources = SourceSet(
      loop: loop, limits: plan.limits, workers: workers, me: me, seed: seed,
      canonicalize: canonicalize, metrics: ownShard,
      report: report)
    identity = IdentityWatch(
      plan, loop: loop, worker: workers.identity, resolverWorker: workers.resolver, seed: seed ^ 0x1D,
      adopt: { [crossings, sources] credentials in
        crossings.credentials.publish(credentials)
        audit.adopt(credentials)
        for wake in wakes { wake() }
        sources.adopt(credentials)
      }, report: report)
  }

  // MARK: life

  public func start() {
    sources.deliver = { [weak self] updates in self?.received(updates) }
    sources.granted = { [weak self, grantDesk] source, text in
      grantDesk.told(source, text)
      self?.enqueue(.granted(source: source, text))
    }
    sources.refused = { [persistence, loop] source, isRefused in
      persistence?.note(refusedBy: isRefused ? source : nil, now: loop.wallClock)
    }
    grantDesk.follow(rules, sources: plan.sources.map(\.name))
    audit.start(node: me.node, program: version, instance: me.instance)
    audit.record(AuditRecord(.policy, version: rules.hash, reason: "in force at the start"))
    // Nothing is complete yet, but identities are already placed: who is refused need not wait.
    enqueue(.rules(rules))
    adopt(files.shadow)
    assignSinks()
    identity.start()
    if persistence?.restore(now: loop.wallClock) != true { sources.begin(plan, restored: nil) }
    persistence?.keep(files.texts, now: loop.wallClock)
    tell(.config, "configuration refused; the last good one, kept in state, is in use", files.configProblems)
    tell(.policy, "policy refused; the last good one, kept in state, is in force", files.policyProblems)
    warn(ofPolicy: files.policyWarnings)
  }

  /// Call when the loop was woken: takes everything that other threads left for this one.
  public func pickUp() {
    loop.preconditionOnLoop()
    audit.pickUp()
    settleRecords()
    identity.pickUp()
    sources.pickUp()
    for outcome in persistence?.outcomes.drain() ?? [] { persisted(outcome) }
    for outcome in outcomes.drain() { publishedOne(outcome) }
    pickUpTransfers()
    grantDesk.pickUp()
    for question in asked.drain() { answer(question.request, question.reply) }
    for report in crossings.reports.drain() { heard(report) }
    tellReadiness()
  }

  /// How long streams may end by themselves.
  public var drainTime: Duration { plan.limits.drain }

  /// Stops sources and drains the serve loops; `then` is called when the last client is gone, or at
  /// the latest when `limits.drain` and a second have passed.
  public func drain(then: @escaping () -> Void) {
    guard drained == nil else { return }
    drained = then
    sources.stop()
    let time = plan.limits.drain
    for handle in serving {
      handle.commands.push(.drain(time))
      handle.wake()
    }
    _ = loop.schedule(at: loop.now + time + .seconds(1), self, tag: ControlTimer.drain.rawValue)
    if serving.isEmpty { finishDrain() }
  }

  private func finishDrain() {
    let then = drained
    drained = {}
    then?()
  }

  // MARK: publishing

  private func received(_ updates: [SourceUpdate]) {
    if case .updates(let waiting)? = jobs.last {
      jobs[jobs.count - 1] = .updates(waiting + updates)
    } else {
      jobs.append(.updates(updates))
    }
    publishNext()
  }

  func enqueue(_ job: PublishJob) {
    if case .rules = job {
      // First, and in place of older ones: a grant that ends must not wait for what sources have said.
      jobs.removeAll { if case .rules = $0 { true } else { false } }
      jobs.insert(job, at: 0)
    } else {
      jobs.append(job)
    }
    publishNext()
  }

  /// One job at a time: updates that arrive meanwhile are merged in one step.
  private func publishNext() {
    guard !publishing, let job = jobs.first else { return }
    let (desk, outcomes, now) = (desk, outcomes, loop.wallClock)
    publishing = true
    if workers.publisher.submit({ outcomes.push(desk.perform(job, now: now)) }) {
      jobs.removeFirst()
    } else {
      // The worker's queue is full: nothing is lost, the job is offered again.
      publishing = false
      _ = loop.schedule(at: loop.now + .milliseconds(50), self, tag: ControlTimer.publish.rawValue)
    }
  }

  private func publishedOne(_ outcome: PublishReport) {
    publishing = false
    let wasComplete = isComplete
    isComplete = outcome.isComplete
    pendingTypes = outcome.pendingTypes
    sources.note(outcome)
    noted(outcome.gates)
    noted(outcome.carried)
    shadowDesk.note(outcome.shadow)
    for conflict in outcome.conflicts {
      report(
        TierEvent(
          .warning, "two sources have one resource; the earlier source wins",
          [
            .init("resource", "\(conflict.type) \(conflict.name)"), .init("winner", conflict.winner),
            .init("losers", conflict.losers.joined(separator: ",")),
          ]))
    }
    if let facts = outcome.published {
      let isNew = facts.version != published?.version
      // What a start finds was published at some time; only a step from there on has travelled just now.
      let isStep = wasComplete && facts.position.sequence != published?.position.sequence
      published = facts
      if isStep { measure(facts) }
      if isNew { announce(facts) }
    }
    publishNext()
  }

  private func measure(_ facts: PublishedFacts) {
    let age = loop.wallClock.milliseconds - facts.position.published.milliseconds
    ownShard.record(.milliseconds(age), in: .propagation)
  }

  private func announce(_ facts: PublishedFacts) {
    report(
      TierEvent(
        .info, "published",
        [
          .init("version", facts.version.description), .init("origin", facts.position.origin),
          .init("sequence", String(facts.position.sequence)), .init("resources", String(facts.resources)),
          .init("changed", String(facts.changed)), .init("removed", String(facts.removed)),
        ]
      ).of(.publish))
  }

  // MARK: what outlives the process

  private func persisted(_ outcome: Persistence.Outcome) {
    switch outcome {
    case .restored(let restored, let error):
      if let error {
        report(TierEvent(.error, "the stored state cannot be used", [.init("reason", "\(error)")]))
      }
      sources.begin(plan, restored: mine(restored))
    case .withheld(let source):
      report(
        TierEvent(
          .warning, "the stored snapshot is not served: this host was refused since it was saved",
          [.init("source", source)]))
      sources.begin(plan, restored: nil)
    case .saved(let replaced, let tickets):
      if let replaced {
        report(TierEvent(.error, "a stored state was set aside", [.init("reason", "\(replaced)")]))
      }
      if stateError != nil { report(TierEvent(.notice, "the state is being saved again")) }
      stateError = nil
      settled(tickets, unsaved: nil)
    case .content(let ticket, let found): received(found, ticket: ticket)
    case .failed(let error, let tickets):
      let text = error.description
      settled(tickets, unsaved: text)
      if text != stateError {
        report(TierEvent(.error, "the state is not being saved; serving goes on", [.init("reason", text)]))
      }
      stateError = text
    }
  }

  /// What was restored, if it was this relay that saved it: a folder shared by mistake must not make one
  /// relay serve another's snapshot.
  private func mine(_ restored: Restored?) -> Restored? {
    guard let restored else { return nil }
    guard restored.position.path.last?.node == me.node else {
      persistence?.forgetGates()
      let other = restored.position.path.last?.node ?? "an unknown node"
      report(
        TierEvent(
          .error, "the stored state belongs to another relay and is not used",
          [.init("node", other), .init("folder", plan.state ?? "")]))
      return nil
    }
    report(
      TierEvent(
        .notice, "serving the stored snapshot until sources answer",
        [
          .init("version", restored.version.description), .init("saved_at", restored.savedAt.rfc3339),
        ]))
    enqueue(.restore(restored))
    return restored
  }

  // MARK: the pulse

  /// Between tries to save while saving fails. Reason: a mesh that seldom changes must not wait for its next change.
  private static let saveInterval: Duration = .seconds(10)

  private func saveAgain() {
    guard stateError != nil, loop.now - savedAgainAt >= ControlLoop.saveInterval else { return }
    savedAgainAt = loop.now
    enqueue(.save)
  }

  /// How long a serve loop may stay silent before it counts as stuck. Reason: three beats of a second.
  private static let silenceMost: Duration = .seconds(3)

  /// Asks every serve loop for a sign of life; call about once a second.
  public func beat() {
    tellReadiness()
    for answer in streamQuestions.overdue(now: loop.now) { tell(answer) }
    ownShard.setBusy(fraction: loop.busyFraction)
    identity.beat()
    settleRecords()
    beatTransfers()
    saveAgain()
    grantDesk.beat()
    tickets.beat(loop.now, crossings)
    if isTooStale != alarmed {
      alarmed = isTooStale
      report(
        alarmed
          ? TierEvent(.error, staleness) : TierEvent(.notice, "every source is in step again"))
    }
    for handle in serving {
      // A loop that does not empty its mailbox is stuck, and will be seen to be.
      handle.commands.push(.beat)
      handle.wake()
    }
  }

  public var everyLoopAnswers: Bool {
    answeredAt.allSatisfy { loop.now - $0 < ControlLoop.silenceMost }
  }

  /// One line for people: how much is served, and what is wrong.
  public var statusLine: String {
    let reasons = readiness.reasons
    let served = "\(published?.resources ?? 0) resources, \(crossings.census.clients) clients"
    return reasons.isEmpty ? "Serving " + served : "Not ready (\(reasons.joined(separator: "; "))); " + served
  }

  // MARK: serve loops

  private func heard(_ message: ServeReport) {
    switch message {
    case .clients(let index, let ticket, let facts, let sinks):
      questions[ticket]?.clients += facts
      questions[ticket]?.sinks += sinks
      questions[ticket]?.missing.remove(index)
      if questions[ticket]?.missing.isEmpty == true { settle(ticket) }
    case .wantsStreams(let index, let ticket, let id, let query):
      let ticket = streamQuestions.ask(for: index, ticket: ticket, loops: serving.count, now: loop.now)
      for handle in serving {
        // A loop whose mailbox is full answers nothing: then the others' answer is all there is.
        handle.commands.push(.describeStreams(of: id, query, ticket: ticket))
        handle.wake()
      }
    case .streams(_, let ticket, let streams):
      if let answer = streamQuestions.received(ticket, streams) { tell(answer) }
    case .alive(let index):
      if answeredAt.indices.contains(index) { answeredAt[index] = loop.now }
    case .noted(let note, let omitted):
      report(TierEvent(note, omitted: omitted))
    case .drained(let index):
      drainedLoops.insert(index)
      if drained != nil, drainedLoops.count == serving.count { finishDrain() }
    }
  }

  private func tell(_ answer: StreamQuestions.Answer) {
    guard serving.indices.contains(answer.loop) else { return }
    serving[answer.loop].commands.push(.streams(ticket: answer.ticket, answer.streams))
    serving[answer.loop].wake()
  }

  /// Asks every serve loop for its clients; answers with what has come after a second at the latest.
  func askForClients(_ answer: @escaping ([ClientFacts], [SinkFacts]) -> Void) {
    let ticket = nextTicket
    nextTicket += 1
    let deadline = loop.schedule(
      at: loop.now + .seconds(1), self, tag: ControlTimer.question(ticket))
    questions[ticket] = PendingQuestion(
      missing: Set(serving.indices), answer: answer, deadline: deadline)
    for handle in serving {
      handle.commands.push(.reportClients(ticket: ticket))
      handle.wake()
    }
    if serving.isEmpty { settle(ticket) }
  }

  private func settle(_ ticket: UInt64) {
    guard let question = questions.removeValue(forKey: ticket) else { return }
    loop.cancel(question.deadline)
    question.answer(question.clients, question.sinks)
  }

  public func timerFired(_ id: TimerID, tag: Int) {
    switch ControlTimer(rawValue: tag) {
    case .drain?: finishDrain()
    case .publish?: publishNext()
    case nil: settle(UInt64(tag))
    }
  }

  // MARK: admin

  /// Callable from any thread: the answer comes on the control loop's thread.
  public nonisolated var ask: @Sendable (AdminRequest, @escaping @Sendable (AdminReply) -> Void) -> Void {
    { [asked] request, reply in
      if !asked.push(Question(request: request, reply: reply)) {
        reply(.error(status: 503, "The relay is too busy to answer. Try again"))
      }
    }
  }
}

/// Tags of the control loop's timers; any other tag is the ticket of a question.
enum ControlTimer: Int {
  case drain = 0
  case publish = 1

  static func question(_ ticket: UInt64) -> Int { Int(truncatingIfNeeded: ticket) }
}
