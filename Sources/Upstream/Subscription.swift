// The climb, driven from here: one upstream of this relay. Dial, verify who it is, subscribe to every
// wanted type, hand complete changes up, acknowledge, and begin again when it breaks.
//
//     idle ─start─► dialling ─verified─► opening ─first answer─► following ◄─► going back (Returning.swift)
//      ▲               │failed              │ended              │ended, silent
//      └──stop─────────┴────────► waiting (back-off) ◄──────────┘
//
// What the upstream says is never taken for complete because it is short: the follower keeps the last
// good state of each type until a newer one is whole. Nothing here decides what is newer or allowed.

import GRPC
public import Metrics
public import Primitives
public import Ring
import SPIFFE
public import Snapshots
public import TLS
public import Transport
public import Trust

/// What the wiring hears of a subscription. Called on the loop.
public protocol SubscriptionOwner: AnyObject {
  /// Whole changes, in order.
  func subscription(_ subscription: Subscription, received updates: [SourceUpdate])
  func subscription(_ subscription: Subscription, became state: Subscription.Health)
  /// What the upstream says it grants us; nil when it does not say.
  func subscription(_ subscription: Subscription, wasGranted text: String?)
}

public final class Subscription: TimerHandler {
  /// What status shows of an upstream.
  public enum Health: Equatable, Sendable {
    /// Nothing received since start; `lastError` says why, if a try failed.
    case connecting(lastError: String?)
    /// The stream is open and has answered.
    case following
    /// It answered before and cannot be reached now.
    case stale(lastError: String)
    /// It answers with something unusable, or refuses us.
    case failed(lastError: String)
    /// It offers something older than what is held.
    case behind(lastError: String)
  }

  enum State {
    case idle
    case dialling(Attempt)
    case opening(Attempt)
    case following(Attempt)
    case waiting(TimerID)
  }

  enum Tag: Int { case again, patience, progress, trust, refresh, goBack, trialOver, renew }

  /// How long an upstream may accept a stream and answer nothing before the next address is tried. Reason:
  /// twice what silent types are given.
  static let progressMost = Following.patience * 2
  /// With one address there is nobody else to ask, and a relay that has nothing complete is silent by right: it
  /// is dialled again after this long only. Reason: a process that hangs behind its own listener.
  static let silenceMost: Duration = .seconds(300)
  /// The certificate behind a stream is looked at this often. Reason: an expired one ends its streams within
  /// 5 s, and the wall clock may be set.
  private static let trustLookMost: Int64 = 4_000
  /// Bytes of a reason that came from outside. Reason: it is shown in one line of status and journal.
  private static let reasonBytesMost = 512
  /// Between pings to a server of the classic protocol. Reason: it ends a connection that is pinged more often than
  /// every five minutes.
  private static let classicSpacing: Duration = .seconds(310)
  private static let spacingMost: Duration = .seconds(1_200)

  public let settings: SubscriptionSettings
  public private(set) var health = Health.connecting(lastError: nil)
  let loop: EventLoop
  private var around: Attempt.Surroundings
  private weak var owner: (any SubscriptionOwner)?
  var follower: Follower
  var state = State.idle
  var rota: EndpointRota
  /// Why each address that failed since the last answer did, by its index.
  private var faults: [Int: Health] = [:]
  private var backoff = Backoff()
  var pacing = ReturnPacing()
  var generator: SeededGenerator
  private var credentials: Credentials?
  /// For a host: its authority's certificates, and why there are none.
  private var authority: [Certificate] = []
  private var hasAnswered = false
  /// Its last word was that it grants this relay nothing.
  public private(set) var isRefused = false
  /// Its last word was a status that says that it has nothing for us.
  public private(set) var isTurnedAway = false
  private var followingSince: Instant?
  private var patience = TimerID.none
  private var progress = TimerID.none
  private var openedAt = Instant(nanoseconds: 0)
  private var trustLook = TimerID.none
  private var refresh = TimerID.none
  var goBack = TimerID.none
  var renewal = TimerID.none
  var trial: Trial?
  /// What makes the upstream suspect, by type, until it answers well for that type.
  private var suspicions: [String: String] = [:]
  private var introduction = MeshIntroduction()
  /// What our owner was told last; nil: nothing yet.
  private var grant: String??

  public init(
    _ settings: SubscriptionSettings, follower: Follower, loop: EventLoop, limits: Limits,
    memory: LoopMemory, resolver: Resolver, metrics: MetricShard? = nil, seed: UInt64,
    owner: any SubscriptionOwner
  ) {
    self.settings = settings
    self.follower = follower
    self.loop = loop
    self.owner = owner
    around = Attempt.Surroundings(
      loop: loop, limits: limits, memory: memory, resolver: resolver, minimumTLS: settings.minimumTLS,
      pingSpacing: follower.isClassic ? Subscription.classicSpacing : .zero, metrics: metrics)
    rota = EndpointRota(count: settings.endpoints.count)
    generator = SeededGenerator(seed: seed)
  }

  // MARK: commands

  /// For the next connection, and what is received from now on.
  public func adopt(limits: Limits, minimumTLS: TLSVersion) {
    around = around.bound(by: limits, minimumTLS)
    follower.adopt(limits)
  }

  /// Uses `credentials` from the next handshake on; starts when this is the first.
  public func adopt(_ credentials: Credentials) {
    self.credentials = credentials
    trustChanged()
  }

  /// For a host: trusts these certificates from now on; starts when this is the first.
  public func adopt(authority: [Certificate]) {
    self.authority = authority
    trustChanged()
  }

  /// The host's authority cannot be read: nothing is dialled until it can. What is open goes on.
  public func authorityFailed(_ reason: String) {
    if authority.isEmpty, case .idle = state { become(.connecting(lastError: reason)) }
  }

  /// Takes what is offered next for the truth, however old or empty it is: an operator's word.
  public func adoptOffer() {
    follower.adoptNextStream()
    switch state {
    case .opening, .following: fail("beginning again, to take over what is offered")
    case .idle, .dialling, .waiting: break
    }
    if case .waiting(let timer) = state {
      loop.cancel(timer)
      dial()
    }
  }

  public func stop() {
    owner = nil
    cancelTimers()
    if case .waiting(let timer) = state { loop.cancel(timer) }
    let attempt = current
    state = .idle
    attempt?.close()
    endTrial()
  }

  /// Types the upstream has not answered although it was given the time.
  public var silent: [TypeURL] {
    guard case .following = state, follower.nextDeadline == nil else { return [] }
    return follower.unanswered
  }

  /// The address that is being followed.
  public var address: Endpoint? {
    if case .following(let attempt) = state { attempt.endpoint } else { nil }
  }

  // MARK: dialling

  /// Nil until everything is there that servers are judged by.
  private var trust: ServerTrust? {
    guard let credentials else { return nil }
    if case .host = settings.server, authority.isEmpty { return nil }
    return ServerTrust(expected: settings.server, credentials: credentials, authority: authority)
  }

  private func trustChanged() {
    switch state {
    case .idle: dial()
    case .waiting(let timer):
      // A try that failed may have failed for want of these.
      loop.cancel(timer)
      dial()
    case .dialling, .opening, .following: judgeAgain()
    }
  }

  private func dial() {
    guard let attempt = makeAttempt(rota.current) else {
      state = .idle
      return
    }
    state = .dialling(attempt)
    attempt.start()
  }

  func makeAttempt(_ index: Int) -> Attempt? {
    guard let trust else { return nil }
    return Attempt(settings.endpoints[index], trust: trust, around: around) { [weak self] attempt, event in
      self?.heard(event, from: attempt)
    }
  }

  private func heard(_ event: Attempt.Event, from attempt: Attempt) {
    guard attempt === current else { return heardOnTrial(event, from: attempt) }
    switch event {
    case .ready: subscribe(on: attempt)
    case .received(let message): received(message, on: attempt)
    case .ended(let status): ended(status, on: attempt)
    case .failed(let reason): fail(reason)
    }
  }

  /// Opens the stream that counts.
  func subscribe(on attempt: Attempt) {
    state = .opening(attempt)
    openedAt = loop.now
    suspicions = [:]
    if case .host = settings.server, let credentials {
      follower.introduce(as: introduction.node(of: credentials.svid.id))
    }
    let requests = follower.resume(upstream: attempt.endpoint.description, now: loop.now)
    guard attempt.open(path: follower.path, requests: requests) else {
      return fail("\(attempt.endpoint): it takes no stream")
    }
    watchTrust()
    planRenewal()
    loop.cancel(progress)
    progress = loop.schedule(
      at: loop.now + Subscription.progressMost, self, tag: Tag.progress.rawValue)
  }

  // MARK: following

  private func received(_ message: [UInt8], on attempt: Attempt) {
    do throws(Follower.Fault) {
      let updates = try follower.receive(message, now: loop.now, wallClock: loop.wallClock)
      answered(attempt)
      become(noticed(updates))
      if !updates.isEmpty { owner?.subscription(self, received: updates) }
      while let request = follower.nextRequest() { attempt.send(request) }
      awaitSilentTypes()
      if follower.isGrantTold, grant != .some(follower.grant) {
        grant = .some(follower.grant)
        owner?.subscription(self, wasGranted: follower.grant)
      }
    } catch {
      fail("\(attempt.endpoint): \(error.reason)", as: error.isBehind ? .behind : .failed)
    }
  }

  /// The upstream works: the next failure starts with a short wait again.
  private func answered(_ attempt: Attempt) {
    if case .opening = state {
      state = .following(attempt)
      followingSince = loop.now
      loop.cancel(progress)
      if rota.current > 0 { planReturn() }
      planRefresh()
    }
    hasAnswered = true
    isRefused = false
    isTurnedAway = false
    faults = [:]
    rota.answered()
    backoff.reset()
  }

  /// How the upstream is after a response, by what the follower noticed of each type.
  private func noticed(_ updates: [SourceUpdate]) -> Health {
    for update in updates {
      if let type = update.type { suspicions = suspicions.filter { follower.type(of: $0.key) != type } }
    }
    var passing: String?
    while let event = follower.nextEvent() {
      switch event {
      case .answered: break
      case .refused(let name, let reason):
        suspicions[name] = suspicions[name] ?? "a response for \(name) was refused: \(reason)"
      case .turnedEmpty(let name):
        suspicions[name] =
          "it answers nothing for \(name) after it had answered something; what it had is kept"
      case .unexpected(let name): passing = "it answered for \(name), which was not asked for"
      }
    }
    let first = suspicions.min { $0.key < $1.key }?.value
    return (first ?? passing).map { .failed(lastError: Subscription.shown($0)) } ?? .following
  }

  /// Types that stay silent do not hold up the others for ever.
  private func awaitSilentTypes() {
    loop.cancel(patience)
    patience =
      follower.nextDeadline.map { loop.schedule(at: $0, self, tag: Tag.patience.rawValue) } ?? .none
  }

  private func planRefresh() {
    loop.cancel(refresh)
    guard let interval = settings.refresh else { return }
    let wait = generator.jittered(interval, spread: 0.1)
    refresh = loop.schedule(at: loop.now + wait, self, tag: Tag.refresh.rawValue)
  }

  /// The upstream ended the stream: over something that need not be asked for, or for good.
  private func ended(_ status: GRPCStatus, on attempt: Attempt) {
    let (updates, requests) = follower.streamEnded(
      code: status.code.rawValue, message: status.message, now: loop.now)
    if !updates.isEmpty { owner?.subscription(self, received: updates) }
    awaitSilentTypes()
    if let requests, attempt.open(path: follower.path, requests: requests) { return }
    if status.code == .permissionDenied { isRefused = true }
    isTurnedAway = [.permissionDenied, .unauthenticated, .unimplemented].contains(status.code)
    switch status.code {
    case .permissionDenied, .unauthenticated:
      fail("\(attempt.endpoint): \(status)" + introduction.hint(status, settings, credentials), as: .failed)
    case .unimplemented: fail("\(attempt.endpoint): \(status) (it has no \(follower.path))", as: .failed)
    case .invalidArgument:
      if case .opening = state { introduction.tryOther() }
      fail("\(attempt.endpoint): \(status)", as: .failed)
    default: fail("\(attempt.endpoint): \(status)")
    }
  }

  // MARK: trust that ends

  /// The end of our newest SVID.
  var ownEnd: Timestamp? { credentials?.svid.notAfter }

  private func watchTrust() {
    loop.cancel(trustLook)
    guard let until = current?.validUntil else { return }
    let left = max(until.milliseconds - loop.steadyWallClock.milliseconds, 0) + 1
    let wait = Duration.milliseconds(min(left, Subscription.trustLookMost))
    trustLook = loop.schedule(at: loop.now + wait, self, tag: Tag.trust.rawValue)
  }

  /// Bundles or time may have taken away what the handshake found good.
  private func judgeAgain() {
    guard let attempt = current, let trust else { return }
    if let reason = attempt.judgeAgain(by: trust) { return fail(reason) }
    watchTrust()
  }

  // MARK: failing and trying again

  /// What a failure makes of the source, unless it merely cannot be reached.
  private enum Blemish { case failed, behind }

  /// The present try is over: the next endpoint at once, or all of them again after a pause.
  private func fail(_ reason: String, as blemish: Blemish? = nil) {
    let attempt = current
    cancelTimers()
    endTrial()
    if reason.contains("too_many_pings") {
      let spacing = max(around.limits.idle, around.pingSpacing) * 2
      around = around.pinging(every: min(spacing, Subscription.spacingMost))
    }
    if rota.current == 0, let since = followingSince, loop.now - since >= ReturnPacing.steady {
      pacing.reset()
    }
    followingSince = nil
    let shown = Subscription.shown(reason)
    switch blemish {
    case .failed?: faults[rota.current] = .failed(lastError: shown)
    case .behind?: faults[rota.current] = .behind(lastError: shown)
    case nil: faults[rota.current] = .stale(lastError: shown)
    }
    let pause: Duration
    switch rota.failed() {
    case .atOnce: pause = .milliseconds(10)
    case .afterPause: pause = backoff.wait(&generator)
    }
    state = .waiting(loop.schedule(at: loop.now + pause, self, tag: Tag.again.rawValue))
    attempt?.close()
    become(healthOfFaults)
  }

  /// The worst that is known of any address, and what is known of all.
  private var healthOfFaults: Health {
    let reasons = faults.sorted { $0.key < $1.key }.map(\.value.reason).joined(separator: " | ")
    if faults.values.contains(where: \.isFailed) { return .failed(lastError: reasons) }
    if faults.values.contains(where: \.isBehind) { return .behind(lastError: reasons) }
    return hasAnswered ? .stale(lastError: reasons) : .connecting(lastError: reasons)
  }

  private static func shown(_ reason: String) -> String {
    guard reason.utf8.count > reasonBytesMost else { return ForeignText.line(reason) }
    return ForeignText.line(String(reason.prefix(reasonBytesMost / 4 * 3)) + "…")
  }

  var current: Attempt? {
    switch state {
    case .idle, .waiting: nil
    case .dialling(let attempt), .opening(let attempt), .following(let attempt): attempt
    }
  }

  private func cancelTimers() {
    for timer in [patience, progress, trustLook, refresh, goBack, renewal] { loop.cancel(timer) }
    goBack = .none
  }

  private func become(_ next: Health) {
    guard next != health else { return }
    health = next
    owner?.subscription(self, became: next)
  }

  public func timerFired(_ id: TimerID, tag: Int) {
    switch Tag(rawValue: tag) {
    case .again?:
      if case .waiting(let timer) = state, timer == id { dial() }
    case .patience?:
      let updates = follower.deadlinePassed(now: loop.now)
      if !updates.isEmpty { owner?.subscription(self, received: updates) }
    case .progress?: progressIsDue()
    case .trust?: judgeAgain()
    case .refresh?:
      guard case .following(let attempt) = state else { return }
      follower.refresh()
      while let request = follower.nextRequest() { attempt.send(request) }
      planRefresh()
    case .goBack?: beginTrial()
    case .renew?: renewalIsDue()
    case .trialOver?: trialIsOver("it has not answered everything in time")
    case nil: break
    }
  }

  /// Nothing was answered on this stream yet.
  private func progressIsDue() {
    guard case .opening(let attempt) = state else { return }
    let seconds = Int((loop.now - openedAt).inSeconds)
    let reason = "\(attempt.endpoint): it accepted the stream and has answered nothing for \(seconds) s"
    if settings.endpoints.count > 1 || loop.now - openedAt >= Subscription.silenceMost { return fail(reason) }
    become(hasAnswered ? .stale(lastError: reason) : .connecting(lastError: reason))
    progress = loop.schedule(
      at: openedAt + Subscription.silenceMost, self, tag: Tag.progress.rawValue)
  }
}

extension Attempt.Surroundings {
  func pinging(every spacing: Duration) -> Attempt.Surroundings {
    with(limits, minimumTLS, spacing)
  }

  func bound(by limits: Limits, _ minimumTLS: TLSVersion) -> Attempt.Surroundings {
    with(limits, minimumTLS, pingSpacing)
  }

  private func with(
    _ limits: Limits, _ minimumTLS: TLSVersion, _ pingSpacing: Duration
  ) -> Attempt.Surroundings {
    Attempt.Surroundings(
      loop: loop, limits: limits, memory: memory, resolver: resolver, minimumTLS: minimumTLS,
      pingSpacing: pingSpacing, metrics: metrics)
  }
}

extension Subscription.Health {
  fileprivate var isFailed: Bool { if case .failed = self { true } else { false } }
  fileprivate var isBehind: Bool { if case .behind = self { true } else { false } }
  fileprivate var reason: String {
    switch self {
    case .connecting(let error): error ?? ""
    case .following: ""
    case .stale(let error), .failed(let error), .behind(let error): error
    }
  }
}
