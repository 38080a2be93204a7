// One type on one delta stream: a response carries the difference between what the client was sent and
// what it may have now, computed when it is sent, so a slow client skips to the newest state.
//
// A reconnecting client says what it holds (`initial_resource_versions`) and is told the difference,
// removals included. A wanted name that does not exist is answered by a tombstone and stays wanted.
// Source: xDS, "Incremental xDS".

internal import Primitives
internal import Snapshots

struct DeltaSubscription {
  let typeURL: String
  private let url: TypeURL?
  private(set) var interest = Interest()
  private(set) var deliveries = Deliveries()
  private var pacing: ResendPacing
  /// What the client was sent, refused or not, as far as it still wants it.
  private var held = Collection.empty
  /// What the client said it holds; non-nil until its first request has been answered.
  private var initial: [String: String]?
  /// Names to send again, or to answer by a tombstone.
  private var owed: Set<String> = []
  private var owesAll = false
  /// The debts come from a repeated request: paid when pacing allows.
  private var isPaced = false
  private var hasUnsubscribed = false
  private var refused = Refusals()

  init(typeURL: String, limits: Limits) {
    self.typeURL = typeURL
    url = TypeURL(parsing: typeURL)
    pacing = ResendPacing(limits: limits)
  }

  /// Wants everything and waits for newer content only: whatever a view has then is the next response.
  var isAtRest: Bool {
    interest.isWildcard && initial == nil && owed.isEmpty && !owesAll && !isPaced && refused.isEmpty
      && deliveries.isAnswered
  }

  func detail(_ room: inout Int) -> SubscriptionDetail {
    SubscriptionDetail(typeURL: typeURL, deliveries, held: held, room: &room) { refused.contains($0) }
  }

  /// `isFirst`: of this type on this stream.
  mutating func receive(
    _ request: DeltaDiscoveryRequest, isFirst: Bool, limits: Limits
  ) throws(ADSError) -> RequestOutcome {
    if isFirst {
      initial = request.initialVersions
      if request.subscribe.isEmpty && request.unsubscribe.isEmpty { interest.subscribeToEverything() }
    }
    // A stale nonce does not make the names stale: they are a command of their own.
    for name in request.subscribe { subscribe(name, isFirst: isFirst) }
    unsubscribe(request.unsubscribe)
    guard interest.names.count <= limits.namesPerSubscription else {
      throw .tooManyNames(typeURL: typeURL, limit: limits.namesPerSubscription)
    }
    guard !request.nonce.isEmpty, deliveries.hasSent else { return RequestOutcome() }
    switch deliveries.receive(nonce: request.nonce, fault: request.fault) {
    case .stale: return RequestOutcome(isStale: true)
    case .known: return RequestOutcome()
    case .acknowledged(let sent): return RequestOutcome(acknowledged: sent.version)
    case .refused(let sent):
      guard !sent.isWithdrawal else { throw .withdrawalRefused(typeURL: typeURL) }
      guard refused.insert(sent.content, limit: limits.namesPerSubscription) else {
        throw .refusedTooMuch(typeURL: typeURL, limit: limits.namesPerSubscription)
      }
      return RequestOutcome(refused: (sent.version, deliveries.lastRefusal ?? ""))
    }
  }

  private mutating func subscribe(_ name: String, isFirst: Bool) {
    let isRepeated = interest.subscribe(name)
    if isRepeated || hasUnsubscribed { isPaced = true }
    if name == Interest.wildcardName {
      // Asked for again, everything is sent again; asked for at first, the difference is everything.
      owesAll = owesAll || (isRepeated && initial == nil)
    } else if initial?[name] == nil {
      owed.insert(name)
    }
  }

  private mutating func unsubscribe(_ names: [String]) {
    var forgotten: [String] = []
    for name in names where interest.unsubscribe(name) {
      hasUnsubscribed = true
      if name == Interest.wildcardName {
        held = held.restricted(to: interest.names)
        owed.formIntersection(interest.names)
        initial = initial?.filter { interest.covers($0.key) }
      } else if interest.isWildcard {
        // Wanted by the wildcard still: the client has dropped it and must be told it again.
        owed.insert(name)
        isPaced = true
      } else {
        owed.remove(name)
        initial?.removeValue(forKey: name)
        forgotten.append(name)
      }
    }
    held = held.applying(upserts: [], removals: forgotten)
  }

  mutating func next(_ turn: Turn) -> Step {
    guard !interest.isEmpty, case .ready(let collection) = turn.view.state(of: url) else { return .nothing }
    let target = interest.select(collection)
    if initial?.isEmpty == true { return introduce(target, turn) }
    let change = change(to: target)
    let lost = Withdrawals(change.removed) { cause(of: $0, turn.view) }
    let blocked = wait(turn)
    if !lost[.policy].isEmpty, blocked != nil || lost.isMixed {
      return withdraw(lost, .policy, on: target, turn)
    }
    guard initial != nil || owesAll || !owed.isEmpty || !change.isEmpty else { return .nothing }
    if let blocked { return .wait(until: blocked) }
    // Policy is not among them: it has gone before.
    if lost.isMixed { return withdraw(lost, .released, on: target, turn) }
    return send(change, to: target, lost, turn)
  }

  /// The first answer to a client that holds nothing: everything, as the bytes all such clients share.
  private mutating func introduce(_ target: Collection, _ turn: Turn) -> Step {
    let missing = owed.filter { !target.contains($0) }.sorted()
    settle(at: target)
    return respond(
      version: target.versionText, content: .set(target), body: target.isEmpty ? nil : target.body(.whole),
      resources: target.count, removed: missing, removals: nil, turn)
  }

  /// What leads from what the client holds to `target`.
  private func change(to target: Collection) -> Difference {
    guard let initial else { return Collection.difference(from: held, to: target) }
    return Difference(
      changed: target.resources.filter { initial[$0.wireName] != $0.version.description },
      removed: initial.keys.filter { interest.covers($0) && !target.contains($0) }.sorted())
  }

  /// Why the client loses a name.
  private func cause(of name: String, _ view: View) -> RemovalCause {
    guard let type = url?.type else { return .source }
    guard let claimed = initial?[name] else { return view.removalCause(of: name, type: type) }
    return view.removalCause(of: name, type: type, claimedVersion: claimed)
  }

  /// Until when a response must wait; nil when it may go. A first answer waits for nothing: all that can
  /// be in its way is a withdrawal split off from it.
  private func wait(_ turn: Turn) -> Instant? {
    guard initial == nil else { return nil }
    var until = turn.now
    if let answer = deliveries.blockedUntil(limits: turn.limits) { until = max(until, answer) }
    if isPaced { until = max(until, pacing.earliest(now: turn.now)) }
    return until > turn.now ? until : nil
  }

  /// Sends the removals of one cause alone: a grant that ended does not wait for an ACK, and different
  /// causes never share a response. Unless that leads to `target` already, the rest follows.
  private mutating func withdraw(
    _ lost: Withdrawals, _ cause: RemovalCause, on target: Collection, _ turn: Turn
  ) -> Step {
    let names = lost[cause]
    precondition(!names.isEmpty, "a withdrawal takes something away")
    held = held.applying(upserts: [], removals: names)
    for name in names { initial?.removeValue(forKey: name) }
    return respond(
      version: held.versionText, content: .changes([]), body: nil, resources: 0, removed: names,
      removals: cause, isPartial: initial != nil || held.version != target.version, turn)
  }

  private mutating func send(
    _ change: Difference, to target: Collection, _ lost: Withdrawals, _ turn: Turn
  ) -> Step {
    let (resent, missing) = debts(target, besides: change)
    let removed = missing.isEmpty ? change.removed : (change.removed + missing).sorted()
    let isAnswerDue = initial != nil
    var sent = change
    if !resent.isEmpty || !refused.isEmpty {
      let changed = (resent + change.changed).filter { !refused.contains($0) }
      sent = Difference(changed: changed.sorted { $0.wireName < $1.wireName }, removed: removed)
    }
    if isPaced { pacing.spend(now: turn.now) }
    settle(at: target)
    guard isAnswerDue || !sent.changed.isEmpty || !removed.isEmpty else { return .nothing }
    let body = sent.changed.isEmpty ? nil : SharedBody([sent.segments], depth: .whole)
    return respond(
      version: target.versionText, content: .changes(sent.changed), body: body,
      resources: sent.changed.count, removed: removed, removals: lost.single, turn)
  }

  /// The client has been told everything up to `target`.
  private mutating func settle(at target: Collection) {
    held = target
    initial = nil
    owed = []
    owesAll = false
    isPaced = false
  }

  /// Owed names: resources that must be sent although the client has them, and names that do not exist.
  private func debts(_ target: Collection, besides change: Difference) -> ([Resource], [String]) {
    guard owesAll || !owed.isEmpty else { return ([], []) }
    let changing = Set(change.changed.map(\.wireName)).union(change.removed)
    var resources: [Resource] = []
    var missing: [String] = []
    let names = owesAll ? owed.union(target.names) : owed
    for name in names.sorted() where !changing.contains(name) {
      if let resource = target[name] { resources.append(resource) } else { missing.append(name) }
    }
    return (resources, missing)
  }

  private mutating func respond(
    version: String, content: Deliveries.Content, body: SharedBody?, resources: Int, removed: [String],
    removals: RemovalCause?, isPartial: Bool = false, _ turn: Turn
  ) -> Step {
    deliveries.record(
      Deliveries.Sent(
        nonce: turn.nonce, version: version, at: turn.now, content: content, isWithdrawal: removals == .policy
      ))
    let head = ResponseHead.delta(
      version: version, typeURL: typeURL, nonce: turn.nonce, removed: removed,
      controlPlane: turn.view.controlPlane(of: url?.type, removals, isPartial: isPartial))
    return .send(
      ADSResponse(
        typeURL: typeURL, version: version, nonce: turn.nonce, head: head, body: body, resources: resources,
        removed: removed.count, removals: removals, view: turn.view.number))
  }
}
