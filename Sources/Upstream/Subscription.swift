// The climb, driven from here: one upstream of this relay. Dial, verify who it is, subscribe to every
// wanted type, hand complete changes up, acknowledge, and begin again when it breaks.
//
//     idle ─start─► dialling ─verified─► opening ─accepted─► following
//      ▲               │failed              │ended              │ended, silent
//      └──stop─────────┴────────► waiting (back-off) ◄──────────┘
//
// What the upstream says is never taken for complete because it is short: the subscriber keeps the last
// good state of each type until a newer one is whole. Nothing here decides what is newer or allowed.

public import GRPC
public import Primitives
public import Ring
public import SPIFFE
public import Snapshots
public import TLS
public import Transport
public import Trust
public import XDS

/// What one upstream is, from configuration.
public struct SubscriptionSettings: Sendable {
  /// Name of the source.
  public var source: String
  /// In order of preference; never empty.
  public var endpoints: [Endpoint]
  /// Who must answer.
  public var peer: SPIFFEPattern
  public var dialect: ADSDialect
  public var kinds: [Kind]
  public var minimumTLS: TLSVersion

  public init(
    source: String, endpoints: [Endpoint], peer: SPIFFEPattern, dialect: ADSDialect, kinds: [Kind],
    minimumTLS: TLSVersion
  ) {
    precondition(!endpoints.isEmpty, "configuration refuses an upstream without an address")
    self.source = source
    self.endpoints = endpoints
    self.peer = peer
    self.dialect = dialect
    self.kinds = kinds
    self.minimumTLS = minimumTLS
  }
}

/// What the wiring hears of a subscription. Called on the loop.
public protocol SubscriptionOwner: AnyObject {
  /// Whole changes, in order.
  func subscription(_ subscription: Subscription, received updates: [SourceUpdate])
  func subscription(_ subscription: Subscription, became state: Subscription.Health)
}

public final class Subscription: DialerOwner, CallHandler, TimerHandler {
  /// What status shows of an upstream.
  public enum Health: Equatable, Sendable {
    /// Nothing received since start; `lastError` says why, if a try failed.
    case connecting(lastError: String?)
    /// The stream is open and has answered.
    case following
    /// It answered before and cannot be reached now.
    case stale(lastError: String)
    /// It answers with something unusable.
    case failed(lastError: String)
    /// It offers something older than what is held.
    case behind(lastError: String)
  }

  private enum State {
    case idle
    case dialling(Dial)
    case opening(Dial, Connection, Call)
    case following(Dial, Connection, Call)
    case waiting(TimerID)
  }

  private enum Tag: Int { case again, patience, progress, trust }

  /// How long an upstream may accept a stream and answer nothing before the next address is tried. Reason:
  /// twice what silent types are given; with one address there is nobody else to ask.
  private static let progressMost = Following.patience * 2
  /// The certificate behind a stream is looked at this often. Reason: an expired one ends its streams within
  /// 5 s, and the wall clock may be set.
  private static let trustLookMost: Int64 = 4_000

  public let settings: SubscriptionSettings
  public private(set) var health = Health.connecting(lastError: nil)
  private let loop: EventLoop
  private let limits: Limits
  private let memory: LoopMemory
  private let resolver: Resolver
  private weak var owner: (any SubscriptionOwner)?
  private var subscriber: ADSSubscriber
  private var state = State.idle
  private var endpoint = 0
  /// Endpoints that failed since the last pause; a pause comes when all have.
  private var failures = 0
  private var backoff = Backoff()
  private var generator: SeededGenerator
  private var credentials: Credentials?
  private var hasAnswered = false
  private var patience = TimerID.none
  private var progress = TimerID.none
  private var trust = TimerID.none
  /// What makes the upstream suspect, by type URL, until it answers well for that type.
  private var suspicions: [String: String] = [:]
  /// The identity that answered, once verified.
  public private(set) var peer: VerifiedPeer?

  public init(
    _ settings: SubscriptionSettings, subscriber: ADSSubscriber, loop: EventLoop, limits: Limits,
    memory: LoopMemory, resolver: Resolver, seed: UInt64, owner: any SubscriptionOwner
  ) {
    self.settings = settings
    self.subscriber = subscriber
    self.loop = loop
    self.limits = limits
    self.memory = memory
    self.resolver = resolver
    self.owner = owner
    generator = SeededGenerator(seed: seed)
  }

  // MARK: commands

  /// Uses `credentials` from the next handshake on; starts when this is the first.
  public func adopt(_ credentials: Credentials) {
    self.credentials = credentials
    if case .idle = state { dial() }
    judgeAgain()
    // A try that failed may have failed for want of these.
    if case .waiting(let timer) = state {
      loop.cancel(timer)
      dial()
    }
  }

  public func stop() {
    owner = nil
    cancelTimers()
    switch state {
    case .idle: break
    case .dialling(let dial): dial.cancel()
    case .opening(let dial, let connection, _), .following(let dial, let connection, _):
      dial.cancel()
      connection.close(.closedHere(GRPCStatus(.cancelled, "no longer a source")))
    case .waiting(let timer): loop.cancel(timer)
    }
    state = .idle
  }

  // MARK: dialling

  private func dial() {
    guard let credentials else { return }
    do throws(TLSError) {
      let context = try TLSContext(
        role: .client, chain: credentials.svid.chain, key: credentials.svid.key,
        minimum: settings.minimumTLS,
        verifier: { [weak self] chain in self?.judge(chain) ?? .reject(.accessDenied, reason: "stopped") })
      let target = settings.endpoints[endpoint]
      let name = target.literal == nil ? target.host : nil
      let dial = Dial(
        target, security: .tls(context, serverName: name), resolver: resolver, loop: loop,
        limits: limits, memory: memory)
      state = .dialling(dial)
      dial.start(self)
    } catch {
      fail(error.description)
    }
  }

  /// The upstream must be who configuration says, verified against our newest bundles.
  private func judge(_ chain: [Certificate]) -> TLSVerdict {
    do throws(VerificationFailure) {
      let bundles = credentials?.bundles ?? [:]
      peer = try verifyPeer(chain: chain, bundles: bundles, at: loop.wallClock, role: .server)
        .authorized(as: settings.peer)
      return .accept
    } catch {
      return error.verdict
    }
  }

  public func dialFailed(_ endpoint: Endpoint, _ reasons: [String]) {
    fail("\(endpoint): " + reasons.joined(separator: "; "))
  }

  public func connectionVerified(_ connection: Connection) {}

  public func connectionReady(_ connection: Connection) {
    guard case .dialling(let dial) = state else { return }
    connection.onGoAway = { [weak self, weak connection] in
      guard let self, let connection else { return }
      left(connection)
    }
    let authority = settings.endpoints[endpoint].description
    guard
      let call = connection.open(path: settings.dialect.path, authority: authority, self)
    else { return }
    state = .opening(dial, connection, call)
    suspicions = [:]
    watchTrust()
    if settings.endpoints.count > 1 {
      progress = loop.schedule(
        at: loop.now + Subscription.progressMost, self, tag: Tag.progress.rawValue)
    }
    connection.batch {
      for request in subscriber.resume(upstream: authority) { call.send(head: request) }
    }
  }

  public func connection(_ connection: Connection, opened call: Call, head: RequestHead)
    -> (any CallHandler)?
  { nil }

  public func connectionClosed(_ connection: Connection, _ reason: ConnectionEnd) {
    switch state {
    case .opening(_, let current, _), .following(_, let current, _):
      if current === connection { fail("\(connection.peer): \(reason.description)") }
    case .dialling:
      // Verified, and gone before a call could be opened.
      fail("\(connection.peer): \(reason.description)")
    case .idle, .waiting: break
    }
  }

  /// The upstream is going away in good order: what it would still say another one can say.
  private func left(_ connection: Connection) {
    switch state {
    case .opening(_, let current, _), .following(_, let current, _):
      if current === connection { fail("\(connection.peer): the peer is going away") }
    case .idle, .dialling, .waiting: break
    }
  }

  // MARK: following

  public func callAccepted(_ call: Call) {}
  public func callHalfClosed(_ call: Call) {}
  public func callDrained(_ call: Call) {}

  public func call(_ call: Call, received message: [UInt8]) {
    guard owns(call) else { return }
    do throws(ADSError) {
      let updates = try subscriber.receive(message, now: loop.now, wallClock: loop.wallClock)
      answered()
      become(noticed(updates))
      if !updates.isEmpty { owner?.subscription(self, received: updates) }
      sendRequests(call)
      awaitSilentTypes()
    } catch {
      fail(error.message, as: error.health)
      call.cancel()
    }
  }

  /// The upstream works: the next failure starts with a short wait again.
  private func answered() {
    if case .opening(let dial, let connection, let call) = state {
      state = .following(dial, connection, call)
    }
    hasAnswered = true
    loop.cancel(progress)
    failures = 0
    backoff.reset()
  }

  /// How the upstream is after a response, by what the subscriber noticed of each type.
  private func noticed(_ updates: [SourceUpdate]) -> Health {
    for update in updates {
      if let type = update.type { suspicions = suspicions.filter { TypeURL(parsing: $0.key)?.type != type } }
    }
    var passing: String?
    while let event = subscriber.nextEvent() {
      switch event {
      case .answered: break
      case .refused(let typeURL, let reason):
        suspicions[typeURL] = suspicions[typeURL] ?? "a response for \(typeURL) was refused: \(reason)"
      case .turnedEmpty(let typeURL):
        suspicions[typeURL] =
          "it answers nothing for \(typeURL) after it had answered something; what it had is kept"
      case .unexpected(let typeURL): passing = "it answered for \(typeURL), which was not asked for"
      }
    }
    let first = suspicions.min { $0.key < $1.key }?.value
    return (first ?? passing).map { .failed(lastError: $0) } ?? .following
  }

  /// Types that stay silent do not hold up the others for ever.
  private func awaitSilentTypes() {
    loop.cancel(patience)
    patience =
      subscriber.nextDeadline().map { loop.schedule(at: $0, self, tag: Tag.patience.rawValue) } ?? .none
  }

  /// Types the upstream has never answered.
  public var unanswered: [TypeURL] { subscriber.unanswered }

  private func sendRequests(_ call: Call) {
    while let request = subscriber.nextRequest() { call.send(head: request) }
  }

  public func callEnded(_ call: Call, _ status: GRPCStatus) {
    guard owns(call) else { return }
    fail("\(settings.endpoints[endpoint]): \(status)")
  }

  private func owns(_ call: Call) -> Bool {
    switch state {
    case .opening(_, _, let current), .following(_, _, let current): current === call
    case .idle, .dialling, .waiting: false
    }
  }

  // MARK: trust that ends

  private func watchTrust() {
    loop.cancel(trust)
    guard let peer else { return }
    let left = max(peer.notAfter.milliseconds - loop.wallClock.milliseconds, 0) + 1
    let wait = Duration.milliseconds(min(left, Subscription.trustLookMost))
    trust = loop.schedule(at: loop.now + wait, self, tag: Tag.trust.rawValue)
  }

  /// Bundles or time may have taken away what the handshake found good.
  private func judgeAgain() {
    guard let connection = parts.1, let credentials else { return }
    do throws(VerificationFailure) {
      peer = try verifyPeer(
        chain: connection.peerChain, bundles: credentials.bundles, at: loop.wallClock, role: .server
      ).authorized(as: settings.peer)
      watchTrust()
    } catch {
      fail("\(connection.peer): \(error)")
    }
  }

  // MARK: failing and trying again

  /// The present try is over: the next endpoint at once, or all of them again after a pause.
  private func fail(_ reason: String, as health: Health? = nil) {
    let (dial, connection) = parts
    cancelTimers()
    become(health ?? (hasAnswered ? .stale(lastError: reason) : .connecting(lastError: reason)))
    failures += 1
    endpoint = (endpoint + 1) % settings.endpoints.count
    let pause: Duration
    if failures < settings.endpoints.count {
      pause = .milliseconds(10)
    } else {
      failures = 0
      endpoint = 0
      pause = backoff.wait(&generator)
    }
    state = .waiting(loop.schedule(at: loop.now + pause, self, tag: Tag.again.rawValue))
    dial?.cancel()
    connection?.close(.closedHere(GRPCStatus(.cancelled, "trying again")))
  }

  private var parts: (Dial?, Connection?) {
    switch state {
    case .idle, .waiting: (nil, nil)
    case .dialling(let dial): (dial, nil)
    case .opening(let dial, let connection, _), .following(let dial, let connection, _): (dial, connection)
    }
  }

  private func cancelTimers() {
    for timer in [patience, progress, trust] { loop.cancel(timer) }
  }

  private func become(_ next: Health) {
    guard next != health else { return }
    health = next
    owner?.subscription(self, became: next)
  }

  public func timerFired(_ id: TimerID, tag: Int) {
    switch Tag(rawValue: tag) {
    case .again?:
      guard case .waiting(let timer) = state, timer == id else { return }
      dial()
    case .patience?:
      let updates = subscriber.deadlinePassed(now: loop.now)
      if !updates.isEmpty { owner?.subscription(self, received: updates) }
    case .progress?:
      if case .opening(_, let connection, _) = state {
        fail("\(connection.peer): it accepted the stream and has answered nothing")
      }
    case .trust?:
      // Cheap until it matters: the chain is verified once, when its time is over.
      if let peer, loop.wallClock > peer.notAfter { judgeAgain() } else { watchTrust() }
    case nil: break
    }
  }
}

extension ADSError {
  /// What the error says about the upstream it came from.
  fileprivate var health: Subscription.Health {
    switch self {
    case .behind, .otherOrigin: .behind(lastError: message)
    default: .failed(lastError: message)
    }
  }
}
