// The asking side of one classic MCP stream: what a relay says to a Galley, or to another server of its
// time. Same shape as `ADSSubscriber`.
//
//   begin(held) ─► first requests          receive(message) ─► updates for merging
//   nextRequest() until nil: ACKs, NACKs   deadlinePassed()  ─► "complete" although some kind is silent
//   streamEnded(status) ─► reopen without a collection, or a failure
//
// A version of such a server proves nothing: Galley counts from 0 again after a restart, so what is new is
// decided by content hashes. Nor does it say why things are gone: one that turns empty is a fault, never a
// deletion. Must never lose a removal: whatever may be everything is taken for everything.
// Source: istio.mcp.v1alpha1; behaviour of Galley 1.0 to 1.5.

public import Primitives
public import Snapshots

/// The subscriptions of one relay at one classic source.
public struct MCPSink {
  /// What a sink is made of.
  public struct Settings: Sendable {
    public var method: MCPMethod
    /// Ask for changes where the method leaves the choice, and say at first what is held.
    public var isIncremental: Bool
    /// What to ask for; each kind once. Those the classic protocol never had are left out.
    public var kinds: [Kind]
    public var node: SinkNode
    /// Name of the source, borne by its resources.
    public var source: String
    /// The upstream's address, for reports.
    public var upstream: String
    public var limits: Limits
    /// How objects are taken in.
    public var intake: Intake

    /// `method` must not be `incrementalAggregated`: its responses do not say what they are of.
    public init(
      method: MCPMethod, isIncremental: Bool, kinds: [Kind], node: SinkNode, source: String,
      upstream: String, limits: Limits, canonicalize: BodyCanonicalizer? = nil
    ) {
      precondition(
        method != .incrementalAggregated, "responses of this method cannot be told apart by collection")
      self.method = method
      self.isIncremental = isIncremental && method != .aggregated
      self.kinds = kinds
      self.node = node
      self.source = source
      self.upstream = upstream
      self.limits = limits
      intake = Intake(canonicalize: canonicalize)
    }
  }

  /// What the end of a stream means for its owner.
  public enum Ending: Sendable, Equatable {
    /// The upstream does not know this collection, which will not be asked for again: open a new stream
    /// at once.
    case reopen(without: String)
    /// Nothing to be done here: wait and try again.
    case failed
  }

  /// One kind asked for.
  private struct Topic {
    let kind: Kind
    /// Its name since Istio 1.1.
    let collection: MCPCollection
    /// Its name in Istio 1.0; nil for kinds that had none of their own.
    let byBody: MCPCollection?
    /// Names under which the upstream said that it has nothing, while it is open which ones it goes by.
    var empty: Set<Naming> = []
    /// When the upstream ended a stream over it; nil while it has not.
    var refusedAt: Instant?
    var isUnsupported: Bool { refusedAt != nil }
    /// The next change of this stream is everything.
    var awaitsEverything = false
    /// We said what we hold and wait for the answer.
    var hasClaimed = false
    /// Version of the last good message of this stream, which MeshConfigRequest repeats. Not kept over
    /// streams: a Galley that counted anew would take it for its own and stay silent.
    var version = ""
  }

  /// How an upstream names collections. Both are asked for until it ends the stream over a name of one, or has
  /// something under a name of the other: some answer names they do not know with nothing.
  private enum Naming { case byCollection, byBody }

  /// Most bytes of a request. Reason: Galley receives 1 MiB at most.
  static let requestBytesMax = 1024 * 1024
  /// For how long a collection is not asked for after the upstream ended a stream over it. Reason: another
  /// version of the server may have it, and asking costs every other collection a new stream.
  static let refusalLasts: Duration = .seconds(600)
  /// The gRPC status code of that name.
  private static let invalidArgument = 3

  private var settings: Settings
  private var topics: [Topic]
  /// What is held of each topic, by its index.
  private var following: Following
  private var requests: [[UInt8]] = []
  private var events: [FollowerEvent] = []
  /// Nil: it is open, which it is at a server of the aggregated service alone.
  private var naming: Naming?
  /// What this stream was opened with.
  private var asked: [Naming] = [.byCollection]
  /// Streams that such a server ended without a word on which name it did not like: the next one has other names.
  private var unexplainedEnds = 0

  public init(_ settings: Settings) {
    self.settings = settings
    topics = settings.kinds.compactMap { kind in
      MCPCollection(of: kind).map {
        Topic(kind: kind, collection: $0, byBody: MCPCollection(byBodyOf: kind))
      }
    }
    naming = settings.method == .aggregated ? nil : .byCollection
    following = Following(source: settings.source, types: topics.map(\.kind.type))
  }

  /// Begins a new stream and returns its first requests, in the order of `kinds`. `held` is what is being
  /// served of this source.
  public mutating func begin(held: [TypeName: Collection], upstream: String) -> [[UInt8]] {
    settings.upstream = upstream
    requests = []
    following.begin(held: held)
    for index in topics.indices { (topics[index].version, topics[index].empty) = ("", []) }
    asked = naming.map { [$0] } ?? MCPSink.openNamings[unexplainedEnds % MCPSink.openNamings.count]
    // In this order: a server that ends the stream over the first name says by that which era it is of.
    return asked.flatMap { naming in
      topics.indices.filter { !topics[$0].isUnsupported }
        .compactMap { index in name(index, naming).map { firstRequest(index, $0) } }
    }
  }

  private static let openNamings: [[Naming]] = [[.byCollection, .byBody], [.byCollection], [.byBody]]

  private func name(_ index: Int, _ naming: Naming?) -> MCPCollection? {
    naming == .byBody ? topics[index].byBody : topics[index].collection
  }

  /// What the upstream calls it, as far as is known.
  private func name(_ index: Int) -> String { (name(index, naming) ?? topics[index].collection).name }

  /// Whose name this is, and in which naming.
  private func topic(named name: String) -> (index: Int, naming: Naming)? {
    if let index = topics.firstIndex(where: { $0.collection.name == name }) { return (index, .byCollection) }
    guard settings.method == .aggregated else { return nil }
    return topics.firstIndex { $0.byBody?.name == name }.map { ($0, .byBody) }
  }

  /// For what is received from now on.
  public mutating func adopt(_ limits: Limits) { settings.limits = limits }

  /// Takes what the next stream answers first, however empty it is: an operator's word.
  public mutating func adoptNextStream() { following.adoptNextStream() }

  /// Holds what an earlier process held, before the first stream.
  public mutating func hold(_ held: [TypeName: Collection]) { following.begin(held: held) }

  /// Begins a new stream with what this sink itself holds; `upstream` is who answers now. What another
  /// server, or this one long ago, did not know is asked for again.
  public mutating func resume(upstream: String, now: Instant) -> [[UInt8]] {
    if upstream != settings.upstream, settings.method == .aggregated { naming = nil }
    for index in topics.indices {
      guard let refusedAt = topics[index].refusedAt else { continue }
      if upstream != settings.upstream || now - refusedAt >= MCPSink.refusalLasts {
        topics[index].refusedAt = nil
      }
    }
    return begin(held: following.held, upstream: upstream)
  }

  /// Begins a new stream at the same upstream, which just ended one over a collection.
  public mutating func reopen() -> [[UInt8]] { begin(held: following.held, upstream: settings.upstream) }

  /// Everything that was ever answered has been answered on this stream, too: another one is not needed.
  public var isAnsweredAnew: Bool {
    topics.indices.allSatisfy {
      topics[$0].isUnsupported || !following.isAnswered($0) || following.isAnsweredOnStream($0)
    }
  }

  /// Takes one message. An error ends the stream; what is held stays.
  public mutating func receive(
    _ message: [UInt8], now: Instant, wallClock: Timestamp
  ) throws(MCPError) -> [SourceUpdate] {
    let received: ReceivedResources
    do {
      received = try ReceivedResources(message, method: settings.method)
    } catch {
      throw .malformedResponse(error)
    }
    guard let (index, named) = topic(named: received.head.collection) else {
      refuseUnknown(received.head)
      return []
    }
    guard !received.head.isIncremental || settings.isIncremental else {
      refuse(received.head, index, reason: "A change, where whole sets were asked for")
      return []
    }
    var settled: [SourceUpdate] = []
    if naming == nil, !received.elements.isEmpty { settled = settle(named, besides: index, now, wallClock) }
    guard naming == named else {
      answer(received.head, version: received.head.version, fault: nil)
      return naming == nil ? nothing(index, under: named, now, wallClock) : []
    }
    let reading: ResponseReading
    do {
      reading = try ResponseReading(
        received.elements, removed: received.head.removed, form: .envelope, context(index, wallClock))
    } catch {
      refuse(received.head, index, reason: error.reason)
      return settled
    }
    return settled + take(reading, received.head, index, now: now) + following.completed()
  }

  /// The upstream has something under a name of this naming: what it said there is meant.
  private mutating func settle(
    _ found: Naming, besides present: Int, _ now: Instant, _ wallClock: Timestamp
  ) -> [SourceUpdate] {
    naming = found
    let empty = topics.indices.filter {
      $0 != present && topics[$0].empty.contains(found) && !following.isAnsweredOnStream($0)
    }
    return empty.flatMap { takeNothing($0, now, wallClock) } + dropRefused(now) + dropNameless(now)
  }

  /// A server that goes by bodies has nothing of kinds that cannot be told by them.
  private mutating func dropNameless(_ now: Instant) -> [SourceUpdate] {
    guard naming == .byBody else { return [] }
    return topics.indices.filter { topics[$0].byBody == nil }.flatMap { drop($0, now: now) }
  }

  /// Collections that it has refused: under names that are the right ones, so it does not have them.
  private mutating func dropRefused(_ now: Instant) -> [SourceUpdate] {
    topics.indices.filter { topics[$0].isUnsupported && !following.isAnswered($0) }
      .flatMap { drop($0, now: now) }
  }

  /// It has nothing under this name. When there is no other one left, it has nothing.
  private mutating func nothing(
    _ index: Int, under named: Naming, _ now: Instant, _ wallClock: Timestamp
  ) -> [SourceUpdate] {
    following.noteWord(now: now)
    topics[index].empty.insert(named)
    guard asked.allSatisfy({ name(index, $0) == nil || topics[index].empty.contains($0) }) else { return [] }
    return takeNothing(index, now, wallClock) + following.completed()
  }

  /// An answer that was acknowledged before it was clear what it meant.
  private mutating func takeNothing(_ index: Int, _ now: Instant, _ wallClock: Timestamp) -> [SourceUpdate] {
    guard let reading = try? ResponseReading([], removed: [], form: .envelope, context(index, wallClock))
    else { preconditionFailure("a response without resources has nothing that could be wrong") }
    return take(reading, SourceHead(), index, now: now, isAnswered: true)
  }

  /// The next request to write, or nil when there is none now.
  public mutating func nextRequest() -> [UInt8]? {
    requests.isEmpty ? nil : requests.removeFirst()
  }

  public mutating func nextEvent() -> FollowerEvent? {
    events.isEmpty ? nil : events.removeFirst()
  }

  /// When `deadlinePassed` should be called; nil when nothing waits for time.
  public func nextDeadline() -> Instant? { following.nextDeadline() }

  /// After `Following.patience` the source is complete without the kinds that stay silent: Galley never
  /// answers a collection that nothing fills.
  public mutating func deadlinePassed(now: Instant) -> [SourceUpdate] {
    var updates: [SourceUpdate] = []
    // One that answers names it knows with nothing, and others not at all.
    if naming == nil, following.nextDeadline().map({ $0 <= now }) == true {
      let empty = topics.indices.filter { !topics[$0].empty.isEmpty && !following.isAnswered($0) }
      updates = empty.flatMap { takeNothing($0, now, Timestamp(seconds: 0)) } + dropRefused(now)
    }
    return updates + following.completed() + following.deadlinePassed(now: now)
  }

  /// The upstream ended the stream with this gRPC status. One it ended over a collection it does not have
  /// says, in the updates, that this collection is what it was: nothing, unless something is held of it.
  public mutating func streamEnded(
    code: Int, message: String, now: Instant
  ) -> (ending: Ending, updates: [SourceUpdate]) {
    guard code == MCPSink.invalidArgument, let (index, named) = unsupported(message) else {
      if naming == nil, MCPSink.complaints.contains(code) { unexplainedEnds += 1 }
      return (.failed, [])
    }
    let name = (name(index, named) ?? topics[index].collection).name
    guard naming != nil else { return (.reopen(without: name), judge(index, named, now)) }
    let updates = drop(index, now: now) + following.completed()
    // With nothing left to ask for, another stream would say nothing.
    return (topics.allSatisfy(\.isUnsupported) ? .failed : .reopen(without: name), updates)
  }

  /// Over one of two names it ended the stream: does it go by the other, or does it not have this one?
  private mutating func judge(_ index: Int, _ named: Naming, _ now: Instant) -> [SourceUpdate] {
    if named == .byBody {
      naming = .byCollection
      return dropRefused(now)
    }
    if MCPSink.kindsOfEveryEra.contains(topics[index].kind.type.kind) { return nameByBody(now: now) }
    topics[index].refusedAt = now
    return []
  }

  /// Codes with which a server may end a stream over a name: UNKNOWN, INVALID_ARGUMENT, NOT_FOUND, INTERNAL.
  private static let complaints: Set<Int> = [2, 3, 5, 13]

  /// What every server of the classic protocol has: only a refusal of one of these is about its name.
  private static let kindsOfEveryEra: Set<String> = [
    "VirtualService", "DestinationRule", "Gateway", "ServiceEntry",
  ]

  /// A server that does not know such a name is an Istio 1.0: asks it in its own words, also for what it has refused
  /// under other names.
  private mutating func nameByBody(now: Instant) -> [SourceUpdate] {
    naming = .byBody
    for index in topics.indices { topics[index].refusedAt = nil }
    return dropNameless(now)
  }

  private mutating func drop(_ index: Int, now: Instant) -> [SourceUpdate] {
    topics[index].refusedAt = now
    _ = following.noteAnswer(index, now: now)
    return [
      SourceUpdate(
        source: settings.source, kind: .change(topics[index].kind.type, upserts: [], removals: []))
    ]
  }

  /// Kinds the upstream has not answered since this sink was made.
  public var unanswered: [TypeURL] {
    topics.indices.filter { !following.isAnswered($0) }.map { topics[$0].kind.typeURL }
  }

  /// The kind of a collection that an event names.
  public func type(of collection: String) -> TypeName? {
    topic(named: collection).map { topics[$0.index].kind.type }
  }

  /// Collections the upstream does not have; not asked for again.
  public var unsupported: [String] { topics.indices.filter { topics[$0].isUnsupported }.map { name($0) } }

  /// `unsupported collection "NAME"`: whatever quotes it or stands between, its last word is the name.
  private func unsupported(_ message: String) -> (index: Int, naming: Naming)? {
    guard message.utf8.starts(with: "unsupported ".utf8), let word = message.split(separator: " ").last else {
      return nil
    }
    let name = word.filter { $0 != "\"" && $0 != "'" }
    return topic(named: name).flatMap { topics[$0.index].isUnsupported ? nil : $0 }
  }

  private mutating func firstRequest(_ index: Int, _ collection: MCPCollection) -> [UInt8] {
    let held = following.held(index)
    var request = SinkRequest()
    request.collection = collection.name
    request.isIncremental = settings.isIncremental
    if settings.isIncremental, held.count <= settings.limits.namesPerSubscription {
      for resource in held.resources {
        let name = collection.peerName(of: resource.wireName)
        request.initialVersions[name] = resource.version.description
      }
    }
    var encoded = request.encoded(method: settings.method, node: settings.node)
    // A source refuses requests above its limit for ever; asking for everything always works.
    if encoded.count > min(MCPSink.requestBytesMax, settings.limits.requestBytes) {
      request.initialVersions = [:]
      encoded = request.encoded(method: settings.method, node: settings.node)
    }
    topics[index].hasClaimed = !request.initialVersions.isEmpty
    topics[index].awaitsEverything = request.initialVersions.isEmpty
    return encoded
  }

  private func context(_ index: Int, _ wallClock: Timestamp) -> ResponseReading.Context {
    ResponseReading.Context(
      type: topics[index].kind.type, held: following.held(index), source: settings.source,
      place: settings.upstream, wallClock: wallClock, limits: settings.limits,
      intake: settings.intake)
  }

  private mutating func take(
    _ reading: ResponseReading, _ head: SourceHead, _ index: Int, now: Instant, isAnswered: Bool = false
  ) -> [SourceUpdate] {
    let isWhole = isWhole(head, index)
    let change = following.change(reading, isWhole: isWhole, index)
    let isSuspicious = following.isSuspicious(change, index)
    if following.noteAnswer(index, now: now) {
      events.append(.answered(typeURL: name(index)))
    }
    guard !isSuspicious else {
      events.append(.turnedEmpty(typeURL: name(index)))
      let reason = "Nothing is left of what was there: kept until the operator decides"
      if !isAnswered { refuse(head, index, reason: reason) }
      return []
    }
    following.apply(change, index)
    topics[index].awaitsEverything = false
    topics[index].hasClaimed = false
    topics[index].version = head.version
    if !isAnswered { answer(head, version: head.version, fault: nil) }
    return [
      SourceUpdate(
        source: settings.source,
        kind: .change(topics[index].kind.type, upserts: change.upserts, removals: change.removals),
        rejected: reading.rejected, isWhole: isWhole)
    ]
  }

  /// Whether what a message does not name is gone. The first change of a stream is everything, too, unless
  /// its sender understood what we said we hold: Galley ignores that, and our versions, which are hashes,
  /// match only those of a server that makes the same ones.
  private func isWhole(_ head: SourceHead, _ index: Int) -> Bool {
    if !head.isIncremental || topics[index].awaitsEverything { return true }
    return topics[index].hasClaimed && Version(parsing: head.version) == nil
  }

  private mutating func refuse(_ head: SourceHead, _ index: Int, reason: String) {
    events.append(.refused(typeURL: name(index), reason: reason))
    answer(
      head, version: topics[index].version,
      fault: RequestFault(code: RequestFault.invalidArgument, message: reason))
  }

  /// A collection we did not ask for, or the trigger of a source that dialled us.
  private mutating func refuseUnknown(_ head: SourceHead) {
    if head.collection != MCPCollection.trigger {
      events.append(.unexpected(typeURL: String(head.collection.prefix(MCPCollection.bytesMax))))
    }
    answer(
      head, version: "", fault: RequestFault(code: RequestFault.unimplemented, message: "not asked for"))
  }

  private mutating func answer(_ head: SourceHead, version: String, fault: RequestFault?) {
    var request = SinkRequest()
    request.collection = head.collection
    request.nonce = head.nonce
    request.version = version
    request.fault = fault
    // A refusal never asks for changes: reference sinks leave the flag out there.
    request.isIncremental = settings.isIncremental && fault == nil
    requests.append(request.encoded(method: settings.method, node: settings.node))
  }
}
