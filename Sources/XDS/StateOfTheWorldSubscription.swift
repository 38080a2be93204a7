// One type on one state of the world stream: every response is the whole set the client wants.
//
//     asked ──pending──► silent ──ready──► answered ──newer──► answered …
//
// A first request is always answered, whatever nonce it carries: istiod fills it with a timestamp.
// Sent again only what is newer and not refused; asked again (empty nonce), it is sent again, paced.
// Source: xDS, "ACK and NACK semantics"; istiod's client.

internal import Primitives
internal import Snapshots

struct StateOfTheWorldSubscription {
  let typeURL: String
  private let url: TypeURL?
  private(set) var interest = Interest()
  private(set) var deliveries = Deliveries()
  private var pacing: ResendPacing
  /// What was sent last, refused or not.
  private var held: Collection?
  /// What the client said yes to last: it acts on that when it refuses something newer.
  private var confirmed: Collection?
  private var refused: Set<Version> = []
  /// More names are wanted: answered at once.
  private var owesAnswer = false
  /// The same is wanted again: answered when pacing allows.
  private var owesRepeat = false
  /// Something else is wanted: answered when pacing allows, even if that makes newer content wait.
  private var hasOtherInterest = false

  /// Refused versions remembered. Reason: 16 bytes each; a client that refuses more is not going to
  /// recover on this stream.
  static let refusedMax = 4096

  init(typeURL: String, limits: Limits) {
    self.typeURL = typeURL
    url = TypeURL(parsing: typeURL)
    pacing = ResendPacing(limits: limits)
  }

  /// Wants everything and waits for newer content only: whatever a view has then is the next response.
  var isAtRest: Bool {
    interest.isWildcard && held != nil && !owesAnswer && !owesRepeat && !hasOtherInterest && refused.isEmpty
      && (deliveries.isAnswered || isBare)
  }

  func detail(_ room: inout Int) -> SubscriptionDetail {
    let held = held ?? .empty
    let isRefused = refused.contains(held.version)
    return SubscriptionDetail(
      typeURL: typeURL, deliveries, held: held, confirmed: confirmed, room: &room
    ) { _ in isRefused }
  }

  private var isBare: Bool { url.flatMap { Kinds[$0.type]?.isBare } ?? false }

  mutating func receive(_ request: DiscoveryRequest, limits: Limits) throws(ADSError) -> RequestOutcome {
    // The list counts even when the nonce is stale: the next ACK would carry the same list, and a
    // server that waits for it starves the new names.
    let change = interest.replace(with: request.names)
    guard interest.names.count <= limits.namesPerSubscription else {
      throw .tooManyNames(typeURL: typeURL, limit: limits.namesPerSubscription)
    }
    guard deliveries.hasSent else { return RequestOutcome() }
    switch change {
    case .none: break
    case .grown: owesAnswer = true
    case .other: hasOtherInterest = true
    }
    guard !request.nonce.isEmpty else {
      owesRepeat = true
      return RequestOutcome()
    }
    return try settle(deliveries.receive(nonce: request.nonce, fault: request.fault))
  }

  private mutating func settle(_ answer: Deliveries.Answer) throws(ADSError) -> RequestOutcome {
    switch answer {
    case .stale: return RequestOutcome(isStale: true)
    case .known: return RequestOutcome()
    case .acknowledged(let sent):
      if case .set(let collection) = sent.content { confirmed = collection }
      return RequestOutcome(acknowledged: sent.version)
    case .refused(let sent):
      guard !sent.isWithdrawal else { throw .withdrawalRefused(typeURL: typeURL) }
      if case .set(let collection) = sent.content { refused.insert(collection.version) }
      guard refused.count <= StateOfTheWorldSubscription.refusedMax else {
        throw .refusedTooMuch(typeURL: typeURL, limit: StateOfTheWorldSubscription.refusedMax)
      }
      return RequestOutcome(refused: (sent.version, deliveries.lastRefusal ?? ""))
    }
  }

  mutating func next(_ turn: Turn) throws(ADSError) -> Step {
    guard !interest.isEmpty, case .ready(let collection) = turn.view.state(of: url) else { return .nothing }
    let target = interest.select(collection)
    guard let held else { return send(target, removals: nil, removed: 0, turn) }
    let isNewer = target.version != held.version
    // One who refused what was sent last acts on something older, which may have to go yet.
    guard isNewer || owesAnswer || owesRepeat || refused.contains(held.version) else {
      hasOtherInterest = false
      return .nothing
    }
    let lost = withdrawals(to: target, from: held, turn.view)
    if !lost[.policy].isEmpty { return try withdraw(lost, target: target, held: held, turn) }
    guard !refused.contains(target.version) else {
      settleDebts()
      return .nothing
    }
    if !isBare, let until = deliveries.blockedUntil(limits: turn.limits), until > turn.now {
      return .wait(until: until)
    }
    let isPaced = hasOtherInterest || (owesRepeat && !isNewer && !owesAnswer)
    if isPaced {
      let earliest = pacing.earliest(now: turn.now)
      if earliest > turn.now { return .wait(until: earliest) }
      pacing.spend(now: turn.now)
    }
    if lost.isMixed {
      let first = held.applying(upserts: [], removals: lost[.released])
      if !refused.contains(first.version), first.version != held.version {
        return send(
          first, removals: .released, removed: lost[.released].count, isPartial: true, turn)
      }
    }
    return send(target, removals: lost.single, removed: lost.count, turn)
  }

  /// A grant ended: goes at once, whatever waits. With other causes mixed in, what the client has is
  /// sent again without what it may no longer have, and the rest follows in its own time.
  private mutating func withdraw(
    _ lost: Withdrawals, target: Collection, held: Collection, _ turn: Turn
  ) throws(ADSError) -> Step {
    let remaining = held.applying(upserts: [], removals: lost[.policy])
    let isSplit = lost.isMixed && remaining.version != held.version
    let first = isSplit && !refused.contains(remaining.version) ? remaining : target
    guard !refused.contains(first.version) else { throw .withdrawalRefused(typeURL: typeURL) }
    let cause: RemovalCause? = first.version == target.version ? lost.single : .policy
    return send(
      first, removals: cause, removed: lost[.policy].count, isPartial: first.version != target.version, turn)
  }

  /// What the client loses on the way to `target`, of what it still wants.
  private func withdrawals(to target: Collection, from held: Collection, _ view: View) -> Withdrawals {
    // A client that refused what was sent last still acts on what it confirmed before.
    let acted = refused.contains(held.version) ? confirmed ?? .empty : held
    let removed = Collection.difference(from: acted, to: target).removed
    return Withdrawals(removed.filter { interest.covers($0) }) { name in
      url.map { view.removalCause(of: name, type: $0.type) } ?? .source
    }
  }

  private mutating func send(
    _ content: Collection, removals: RemovalCause?, removed: Int, isPartial: Bool = false, _ turn: Turn
  ) -> Step {
    let version = content.versionText
    held = content
    settleDebts()
    deliveries.record(
      Deliveries.Sent(
        nonce: turn.nonce, version: version, at: turn.now, content: .set(content),
        isWithdrawal: removals == .policy))
    let head = ResponseHead.stateOfTheWorld(
      version: version, typeURL: typeURL, nonce: turn.nonce,
      controlPlane: turn.view.controlPlane(of: url?.type, removals, isPartial: isPartial))
    return .send(
      ADSResponse(
        typeURL: typeURL, version: version, nonce: turn.nonce, head: head,
        body: content.isEmpty ? nil : content.body(.inner), resources: content.count, removed: removed,
        removals: removals, view: turn.view.number))
  }

  private mutating func settleDebts() {
    owesAnswer = false
    owesRepeat = false
    hasOtherInterest = false
  }
}
