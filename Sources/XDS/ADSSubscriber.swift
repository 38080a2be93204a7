// The asking side of one aggregated discovery stream: what a relay says to its upstream.
//
//   begin(held) ─► first requests          receive(response) ─► updates for merging
//   nextRequest() until nil: ACKs, NACKs   deadlinePassed()  ─► "complete" although some type is silent
//
// Keeps the last good set of every type over streams. A response that cannot be trusted as a whole is
// refused and changes nothing; a bad object is set aside alone and what is held of it stays. A foreign
// upstream that turns empty is a fault, never a deletion. Loops and steps back end the stream.
// Source: envoy.service.discovery.v3; positions: `ControlPlane`.

public import Primitives
public import Snapshots

/// The vocabulary every dialect shares.
public typealias ADSSubscriberEvent = FollowerEvent

/// The subscriptions of one relay at one upstream.
public struct ADSSubscriber {
  /// What a subscriber is made of.
  public struct Settings: Sendable {
    public var dialect: ADSDialect
    /// What to ask for; each kind once.
    public var types: [TypeURL]
    public var node: Node
    /// Name of the source, borne by its resources.
    public var source: String
    /// The upstream's address, for reports.
    public var upstream: String
    /// UUID of this process, which must not be in the path of what is offered.
    public var instance: String
    public var limits: Limits
    /// How objects are taken in.
    public var intake: Intake
    /// Kinds may go by another version than the one in `types`, which the upstream then answers with nothing.
    public var searchesVersions = false

    public init(
      dialect: ADSDialect, types: [TypeURL], node: Node, source: String, upstream: String,
      instance: String, limits: Limits, canonicalize: BodyCanonicalizer? = nil
    ) {
      self.dialect = dialect
      self.types = types
      self.node = node
      self.source = source
      self.upstream = upstream
      self.instance = instance
      self.limits = limits
      intake = Intake(canonicalize: canonicalize)
    }
  }

  /// One type asked for.
  private struct Topic {
    var search: VersionSearch
    var url: TypeURL { search.url }
    /// version_info of the last good response; state of the world only.
    var version = ""
    /// Delta: nothing was said of what we hold, so the first answer is everything.
    var awaitsEverything = false
    /// Where what is held stands; nil takes whatever is offered.
    var position: Position?
  }

  /// How long types may stay silent before the source counts as complete without them.
  public static let patience = Following.patience

  private var settings: Settings
  private var topics: [Topic]
  private var adoptsNextStream = false
  /// What is held of each topic, by its index.
  private var following: Following
  private var grantTopic = GrantTopic()
  private var requests: [[UInt8]] = []
  private var events: [ADSSubscriberEvent] = []

  public init(_ settings: Settings) {
    self.settings = settings
    topics = settings.types.map {
      Topic(search: VersionSearch($0, searching: settings.searchesVersions))
    }
    following = Following(source: settings.source, types: settings.types.map(\.type))
  }

  /// Begins a new stream and returns its first requests. `held` is what is being served of this source
  /// and `positions` where that stands; of a type without one, whatever the upstream offers is taken (`adopt`).
  public mutating func begin(
    held: [TypeName: Collection], positions: [TypeName: Position], upstream: String
  ) -> [[UInt8]] {
    hold(held, positions: positions)
    settings.upstream = upstream
    requests = []
    for index in topics.indices {
      if adoptsNextStream { topics[index].position = nil }
    }
    adoptsNextStream = false
    grantTopic.begin()
    return topics.indices.map { firstRequest($0) }
  }

  /// Holds what an earlier process held, before the first stream.
  public mutating func hold(_ held: [TypeName: Collection], positions: [TypeName: Position]) {
    for index in topics.indices { topics[index].position = positions[topics[index].url.type] }
    following.begin(held: held)
  }

  /// For what is received from now on.
  public mutating func adopt(_ limits: Limits) { settings.limits = limits }

  /// Takes what the next stream offers for the truth, however old or empty it is: an operator's word.
  public mutating func adoptNextStream() {
    adoptsNextStream = true
    following.adoptNextStream()
  }

  /// Begins a new stream with what this subscriber itself holds; `upstream` is who answers now.
  public mutating func resume(upstream: String) -> [[UInt8]] {
    begin(held: following.held, positions: positions, upstream: upstream)
  }

  /// Where what is held stands, by type.
  private var positions: [TypeName: Position] {
    Dictionary(topics.compactMap { topic in topic.position.map { (topic.url.type, $0) } }) { first, _ in first
    }
  }

  /// Takes one response. An error ends the stream; what is held stays.
  public mutating func receive(
    _ message: [UInt8], now: Instant, wallClock: Timestamp
  ) throws(ADSError) -> [SourceUpdate] {
    let response: ReceivedResponse
    do {
      response = try ReceivedResponse(message, dialect: settings.dialect)
    } catch {
      throw .malformedResponse(error)
    }
    if grantTopic.isOne(response.typeURL) {
      takeGrant(response, wallClock)
      return []
    }
    guard let index = topics.firstIndex(where: { $0.search.isOne(response.typeURL) }) else {
      events.append(.unexpected(typeURL: String(response.typeURL.prefix(TypeURL.bytesMax))))
      return []
    }
    let reading: ResponseReading
    do {
      reading = try ResponseReading(
        response.elements, removed: response.removed, form: settings.dialect == .delta ? .delta : .any,
        context(index, wallClock))
    } catch {
      refuse(response, index, reason: error.reason)
      return []
    }
    let step = topics[index].search.answered(response.typeURL, isEmpty: response.elements.isEmpty)
    if case .pass(let others) = step {
      acknowledge(response)
      for url in others { ask(url, of: index) }
      return []
    }
    let updates = try take(reading, from: response, index, now: now, wallClock: wallClock)
    return updates + following.completed()
  }

  /// The next request to write, or nil when there is none now.
  public mutating func nextRequest() -> [UInt8]? {
    requests.isEmpty ? nil : requests.removeFirst()
  }

  public mutating func nextEvent() -> ADSSubscriberEvent? {
    events.isEmpty ? nil : events.removeFirst()
  }

  /// When `deadlinePassed` should be called; nil when nothing waits for time.
  public func nextDeadline() -> Instant? {
    following.nextDeadline()
  }

  /// After `Following.patience` the source is complete without the types that stay silent.
  public mutating func deadlinePassed(now: Instant) -> [SourceUpdate] {
    following.deadlinePassed(now: now)
  }

  /// Types the upstream has not answered since this subscriber was made.
  public var unanswered: [TypeURL] {
    topics.indices.filter { !following.isAnswered($0) }.map { topics[$0].url }
  }

  /// Everything that was ever answered has been answered on this stream, too: another one is not needed.
  public var isAnsweredAnew: Bool {
    topics.indices.allSatisfy { !following.isAnswered($0) || following.isAnsweredOnStream($0) }
  }

  /// What the upstream says it grants us; nil while it says nothing.
  public var grant: String? { grantTopic.text }

  /// Whether it has said that, or is known to say nothing.
  public var isGrantTold: Bool { grantTopic.isTold }

  /// Says this of ourselves from the next stream on.
  public mutating func introduce(as node: Node) { settings.node = node }

  /// State of the world: asks for every type again. istiod does not push every kind of change.
  public mutating func refresh() {
    guard settings.dialect == .stateOfTheWorld else { return }
    for (index, topic) in topics.enumerated() where following.isAnsweredOnStream(index) {
      for url in topic.search.polled {
        var request = DiscoveryRequest()
        request.typeURL = url.text
        request.versionInfo = topic.version
        requests.append(request.encoded(node: nil))
      }
    }
  }

  /// Asks for a type under another version of its name; whatever comes is everything.
  private mutating func ask(_ url: TypeURL, of index: Int) {
    if settings.dialect == .delta { topics[index].awaitsEverything = true }
    requests.append(plainRequest(url))
  }

  /// Asks for everything of a type.
  private func plainRequest(_ url: TypeURL) -> [UInt8] {
    switch settings.dialect {
    case .stateOfTheWorld:
      var request = DiscoveryRequest()
      request.typeURL = url.text
      return request.encoded(node: nil)
    case .delta:
      var request = DeltaDiscoveryRequest()
      request.typeURL = url.text
      return request.encoded(node: nil)
    }
  }

  private mutating func takeGrant(_ response: ReceivedResponse, _ wallClock: Timestamp) {
    let context = ResponseReading.Context(
      type: GrantNotice.typeURL.type, held: .empty, source: settings.source, place: settings.upstream,
      wallClock: wallClock, limits: settings.limits, intake: Intake())
    do {
      let reading = try ResponseReading(
        response.elements, removed: response.removed, form: settings.dialect == .delta ? .delta : .any,
        context)
      guard let reason = grantTopic.receive(reading) else { return acknowledge(response) }
      answer(response, version: "", fault: RequestFault(code: RequestFault.invalidArgument, message: reason))
    } catch {
      answer(
        response, version: "", fault: RequestFault(code: RequestFault.invalidArgument, message: error.reason))
    }
  }

  private mutating func firstRequest(_ index: Int) -> [UInt8] {
    let node = index == 0 ? settings.node : nil
    topics[index].search.begin()
    switch settings.dialect {
    case .stateOfTheWorld:
      var request = DiscoveryRequest()
      request.typeURL = topics[index].url.text
      request.versionInfo = topics[index].version
      return request.encoded(node: node)
    case .delta:
      var request = DeltaDiscoveryRequest()
      request.typeURL = topics[index].url.text
      for resource in following.held(index).resources {
        request.initialVersions[resource.wireName] = resource.version.description
      }
      var encoded = request.encoded(node: node)
      // A server refuses requests above its limit for ever; asking for everything always works.
      if encoded.count > settings.limits.requestBytes
        || request.initialVersions.count > settings.limits.namesPerSubscription
      {
        request.initialVersions = [:]
        encoded = request.encoded(node: node)
      }
      topics[index].awaitsEverything = request.initialVersions.isEmpty
      return encoded
    }
  }

  private func context(_ index: Int, _ wallClock: Timestamp) -> ResponseReading.Context {
    ResponseReading.Context(
      type: topics[index].url.type, held: following.held(index), source: settings.source,
      place: settings.upstream, wallClock: wallClock, limits: settings.limits,
      intake: settings.intake)
  }

  private mutating func take(
    _ reading: ResponseReading, from response: ReceivedResponse, _ index: Int, now: Instant,
    wallClock: Timestamp
  ) throws(ADSError) -> [SourceUpdate] {
    let controlPlane = response.identifier.flatMap { ControlPlane(json: $0) }
    if grantTopic.heard(fromRelay: controlPlane != nil) { requests.append(plainRequest(GrantNotice.typeURL)) }
    let isWhole = settings.dialect == .stateOfTheWorld || topics[index].awaitsEverything
    let change = following.change(reading, isWhole: isWhole, index)

    if controlPlane == nil, following.isSuspicious(change, index) {
      events.append(.turnedEmpty(typeURL: topics[index].url.text))
      note(answerTo: index, now: now)
      refuse(response, index, reason: "Nothing is left of what was there: kept until the operator decides")
      return []
    }
    if let controlPlane { try judge(controlPlane, index, bringsChange: !change.isEmpty, wallClock) }
    following.apply(change, index)
    topics[index].version = response.version
    topics[index].awaitsEverything = false
    note(answerTo: index, now: now)
    acknowledge(response)
    return [
      SourceUpdate(
        source: settings.source,
        kind: .change(topics[index].url.type, upserts: change.upserts, removals: change.removals),
        rejected: reading.rejected, isWhole: isWhole, position: controlPlane?.position,
        content: controlPlane == nil ? nil : topics[index].position,
        removals: controlPlane?.removals ?? .source)
    ]
  }

  private mutating func judge(
    _ controlPlane: ControlPlane, _ index: Int, bringsChange: Bool, _ wallClock: Timestamp
  ) throws(ADSError) {
    let offered = controlPlane.content
    let position = topics[index].position
    let verdict = Position.judge(
      offered: offered, held: position, instance: settings.instance, now: wallClock,
      bringsChange: bringsChange)
    let upstream = settings.upstream
    switch verdict {
    case .accepted:
      // Equal content from a replica that is behind changes nothing, our position included.
      let isNewer = position.map { $0.origin == offered.origin && $0.sequence <= offered.sequence }
      // What is on its way to a position does not stand there yet.
      if !controlPlane.isPartial, bringsChange || isNewer != false { topics[index].position = offered }
    case .loop: throw .loop(upstream: upstream)
    case .behind:
      throw .behind(upstream: upstream, offered: offered.sequence, held: position?.sequence ?? 0)
    case .otherOrigin:
      throw .otherOrigin(upstream: upstream, offered: offered.origin, held: position?.origin ?? "")
    case .future: throw .fromTheFuture(upstream: upstream, offered: offered.sequence)
    }
  }

  private mutating func note(answerTo index: Int, now: Instant) {
    if following.noteAnswer(index, now: now) {
      events.append(.answered(typeURL: topics[index].url.text))
    }
  }

  private mutating func acknowledge(_ response: ReceivedResponse) {
    answer(response, version: response.version, fault: nil)
  }

  private mutating func refuse(_ response: ReceivedResponse, _ index: Int, reason: String) {
    events.append(.refused(typeURL: topics[index].url.text, reason: reason))
    answer(
      response, version: topics[index].version,
      fault: RequestFault(code: RequestFault.invalidArgument, message: reason))
  }

  private mutating func answer(_ response: ReceivedResponse, version: String, fault: RequestFault?) {
    switch settings.dialect {
    case .stateOfTheWorld:
      var request = DiscoveryRequest()
      request.typeURL = response.typeURL
      request.versionInfo = version
      request.nonce = response.nonce
      request.fault = fault
      requests.append(request.encoded(node: nil))
    case .delta:
      var request = DeltaDiscoveryRequest()
      request.typeURL = response.typeURL
      request.nonce = response.nonce
      request.fault = fault
      requests.append(request.encoded(node: nil))
    }
  }
}
