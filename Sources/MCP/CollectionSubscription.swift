// One collection on one stream to a sink. The sink wants all of it or none; what differs is whether it
// takes changes.
//
//     opened ──pending──► silent ──ready──► answered ──newer──► answered …
//        ▲ (first request, or one without a nonce)      └─ACK, NACK─► next may go
//
// A first request is answered whatever nonce it carries, a repeated one paced. A sink that takes changes
// and holds nothing gets a whole set, which every sink must understand, and differences from then on. A
// sink that did not ask for changes never gets one. What a grant no longer covers goes at once.

internal import Primitives
internal import Snapshots

struct CollectionSubscription {
  let collection: MCPCollection
  private let method: MCPMethod
  private(set) var deliveries = Deliveries()
  private var pacing: ResendPacing
  private var takesChanges = false
  /// What was sent last, or what is left of it after changes, refused or not; nil before the first answer.
  private var held: Collection?
  /// Whole sets: what the sink said yes to last. It acts on that when it refuses something newer.
  private var confirmed: Collection?
  /// What the sink said it holds when it opened; nil once that has been answered.
  private var claimed: [String: String]?
  private var debt = Debt.none
  private var refused = Refusals()
  private var refusedSets: Set<Version> = []

  private enum Debt { case none, first, repeated }

  /// Refused sets remembered. Reason: 16 bytes each; a sink that refuses more is not going to recover on
  /// this stream.
  static let refusedMax = 4096

  init(_ collection: MCPCollection, method: MCPMethod, limits: Limits) {
    self.collection = collection
    self.method = method
    pacing = ResendPacing(limits: limits)
  }

  func detail(_ room: inout Int) -> SubscriptionDetail {
    let held = held ?? .empty
    let isSetRefused = refusedSets.contains(held.version)
    return SubscriptionDetail(
      typeURL: collection.name, deliveries, held: held, confirmed: confirmed, room: &room
    ) { isSetRefused || refused.contains($0) }
  }

  /// `isFirst`: of this collection on this stream.
  mutating func receive(
    _ request: SinkRequest, isFirst: Bool, limits: Limits
  ) throws(MCPError) -> RequestOutcome {
    if isFirst || request.nonce.isEmpty {
      open(request)
      return RequestOutcome()
    }
    switch deliveries.receive(nonce: request.nonce, fault: request.fault) {
    case .stale: return RequestOutcome(isStale: true)
    case .known: return RequestOutcome()
    case .acknowledged(let sent):
      if case .set(let set) = sent.content { confirmed = set }
      return RequestOutcome(acknowledged: sent.version)
    case .refused(let sent):
      try remember(refusalOf: sent, limits)
      return RequestOutcome(refused: (sent.version, deliveries.lastRefusal ?? ""))
    }
  }

  private mutating func open(_ request: SinkRequest) {
    takesChanges = request.isIncremental
    claimed = nil
    if takesChanges {
      claimed = Dictionary(
        request.initialVersions.sorted { $0.key < $1.key }.map {
          (collection.heldName(of: $0.key), $0.value)
        },
        uniquingKeysWith: { first, _ in first })
    }
    debt = deliveries.hasSent ? .repeated : .first
  }

  private mutating func remember(refusalOf sent: Deliveries.Sent, _ limits: Limits) throws(MCPError) {
    guard !sent.isWithdrawal else { throw .withdrawalRefused(collection: collection.name) }
    if takesChanges, !refused.insert(sent.content, limit: limits.namesPerSubscription) {
      throw .refusedTooMuch(collection: collection.name, limit: limits.namesPerSubscription)
    }
    guard case .set(let set) = sent.content else { return }
    refusedSets.insert(set.version)
    guard refusedSets.count <= CollectionSubscription.refusedMax else {
      throw .refusedTooMuch(collection: collection.name, limit: CollectionSubscription.refusedMax)
    }
  }

  mutating func next(_ turn: Turn) throws(MCPError) -> Step {
    guard case .ready(let target) = collection.state(in: turn.view) else { return .nothing }
    return takesChanges && claimed?.isEmpty != true ? nextChange(target, turn) : try nextSet(target, turn)
  }

  // MARK: whole sets

  private mutating func nextSet(_ target: Collection, _ turn: Turn) throws(MCPError) -> Step {
    // One who refused what was sent last acts on something older, which may have to go yet.
    if debt == .none, let held, held.version == target.version, !refusedSets.contains(held.version) {
      return .nothing
    }
    let acted = actedUpon
    let lost = Withdrawals(Collection.difference(from: acted, to: target).removed) {
      cause(of: $0, turn.view)
    }
    if !lost[.policy].isEmpty {
      let isSendable = !refusedSets.contains(target.version)
      let first = isSendable ? target : acted.applying(upserts: [], removals: lost[.policy])
      guard !refusedSets.contains(first.version) else {
        throw .withdrawalRefused(collection: collection.name)
      }
      return send(set: first, lost, isWithdrawal: true, turn)
    }
    guard !refusedSets.contains(target.version) else {
      settle(at: held)
      return .nothing
    }
    let isNewer = held.map { $0.version != target.version } ?? true
    if let until = wait(isPaced: debt == .repeated && !isNewer, turn) { return .wait(until: until) }
    return send(set: target, lost, isWithdrawal: false, turn)
  }

  /// What the sink acts on: nothing when it has just said so, else what it was sent, unless it refused that.
  private var actedUpon: Collection {
    guard claimed == nil, let held else { return .empty }
    return refusedSets.contains(held.version) ? confirmed ?? .empty : held
  }

  private mutating func send(
    set: Collection, _ lost: Withdrawals, isWithdrawal: Bool, _ turn: Turn
  ) -> Step {
    settle(at: set)
    var head = SourceHead()
    head.version = set.versionText
    // Never flagged as a change, not even for a sink that takes changes: it replaces all that sink has.
    return respond(
      head, .set(set), body: SourceBody.whole(set, of: collection, method: method),
      resources: set.count, removed: lost.count, lost.single, isWithdrawal: isWithdrawal, turn)
  }

  // MARK: changes

  private mutating func nextChange(_ target: Collection, _ turn: Turn) -> Step {
    let change = change(to: target)
    let lost = Withdrawals(change.removed) { cause(of: $0, turn.view) }
    if !lost[.policy].isEmpty { return withdraw(lost[.policy], turn) }
    guard debt != .none || !change.isEmpty else { return .nothing }
    if let until = wait(isPaced: debt == .repeated, turn) { return .wait(until: until) }
    return send(change, to: target, lost.single, turn)
  }

  /// What leads from what the sink holds to `target`.
  private func change(to target: Collection) -> Difference {
    guard let claimed else { return Collection.difference(from: held ?? .empty, to: target) }
    return Difference(
      changed: target.resources.filter { claimed[$0.wireName] != $0.version.description },
      removed: claimed.keys.filter { !target.contains($0) }.sorted())
  }

  /// Removals alone: they wait for no acknowledgement, and refusing them can be told from refusing content.
  private mutating func withdraw(_ names: [String], _ turn: Turn) -> Step {
    held = (held ?? .empty).applying(upserts: [], removals: names)
    for name in names { claimed?.removeValue(forKey: name) }
    // What is left may be nothing, which is no longer a claim to answer with a whole set.
    if claimed?.isEmpty == true {
      claimed = nil
      held = .empty
    }
    var head = SourceHead()
    head.version = (held ?? .empty).versionText
    head.removed = names.map { collection.peerName(of: $0) }
    head.isIncremental = true
    return respond(
      head, .changes([]), body: nil, resources: 0, removed: names.count, .policy,
      isWithdrawal: true, turn)
  }

  private mutating func send(
    _ change: Difference, to target: Collection, _ removals: RemovalCause?, _ turn: Turn
  ) -> Step {
    let isAnswerDue = debt != .none
    var sent = change
    if !refused.isEmpty {
      sent = Difference(
        changed: change.changed.filter { !refused.contains($0) }, removed: change.removed)
    }
    settle(at: target)
    guard isAnswerDue || !sent.isEmpty else { return .nothing }
    var head = SourceHead()
    head.version = target.versionText
    head.removed = sent.removed.map { collection.peerName(of: $0) }
    head.isIncremental = true
    return respond(
      head, .changes(sent.changed), body: SourceBody.changes(sent, of: collection, method: method),
      resources: sent.changed.count, removed: sent.removed.count, removals,
      isWithdrawal: false, turn)
  }

  // MARK: both

  /// Until when a response must wait; nil when it may go. The first answer waits for nothing: all that
  /// can be in its way is a withdrawal split off from it.
  private mutating func wait(isPaced: Bool, _ turn: Turn) -> Instant? {
    guard debt != .first else { return nil }
    var until = turn.now
    if let answer = deliveries.blockedUntil(limits: turn.limits) { until = max(until, answer) }
    if isPaced { until = max(until, pacing.earliest(now: turn.now)) }
    if until > turn.now { return until }
    if isPaced { pacing.spend(now: turn.now) }
    return nil
  }

  private func cause(of name: String, _ view: View) -> RemovalCause {
    guard let type = collection.type else { return .source }
    if let version = claimed?[name] {
      return view.removalCause(of: name, type: type, claimedVersion: version)
    }
    return view.removalCause(of: name, type: type)
  }

  private mutating func settle(at content: Collection?) {
    held = content
    claimed = nil
    debt = .none
  }

  private mutating func respond(
    _ head: SourceHead, _ content: Deliveries.Content, body: SharedBody?, resources: Int, removed: Int,
    _ removals: RemovalCause?, isWithdrawal: Bool, _ turn: Turn
  ) -> Step {
    var head = head
    head.collection = collection.name
    head.nonce = turn.nonce
    deliveries.record(
      Deliveries.Sent(
        nonce: head.nonce, version: head.version, at: turn.now, content: content,
        isWithdrawal: isWithdrawal))
    return .send(
      StreamResponse(
        typeURL: collection.name, version: head.version, nonce: head.nonce,
        head: head.encoded(method: method), body: body, resources: resources, removed: removed,
        removals: removals, view: turn.view.number))
  }
}
