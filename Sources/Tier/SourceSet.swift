// The configured sources of one relay, each with its life: upstream subscriptions and watched directories.
// What they deliver goes to the publisher as it comes; how they are goes to status.

import Admin
import Audit
import Manifests
import Metrics
import Origins
import Policy
import Primitives
import Ring
import Snapshots
import Store
import Transport
import Trust
import Upstream

final class SourceSet: SubscriptionOwner {
  /// One source as status shows it.
  struct Entry {
    let name: String
    let kind: String
    var state: SourceStatus.State = .connecting
    var since: Timestamp
    var resources = 0
    /// What the source itself set aside, newest state.
    var rejected: [Rejection] = []
    /// What an upstream's words set aside.
    var memory = RejectionMemory()
    /// What merging set aside because of `only`.
    var filtered: [Rejection] = []
    var lastError: String?
    /// It failed in a way that offers nothing: there is no such folder, or the upstream turns us away.
    var offersNothing = false
    /// It had delivered before a restart, and that is served until it does again.
    var isRestored = false
    /// Of an upstream without an SVID.
    var authority: AuthorityWatch?
    var life: Life
  }

  enum Life {
    case upstream(Subscription)
    case directory(DirectoryOrigin)
  }

  private let loop: EventLoop
  private let workers: Workers
  private let me: PathElement
  private let report: (TierEvent) -> Void
  private let metrics: MetricShard
  private let memory = LoopMemory()
  private let resolver: Resolver
  /// That of admission.
  let canonicalize: BodyCanonicalizer
  private var generator: SeededGenerator
  private var credentials: Credentials?
  private(set) var entries: [Entry] = []
  /// Where updates go.
  var deliver: ([SourceUpdate]) -> Void = { _ in }
  /// Who hears what a source says it grants us.
  var granted: (_ source: String, _ text: String?) -> Void = { _, _ in }
  /// Who hears whether a source refuses this host, whenever its state changes.
  var refused: (_ source: String, _ isRefused: Bool) -> Void = { _, _ in }

  init(
    loop: EventLoop, limits: Limits, workers: Workers, me: PathElement, seed: UInt64,
    canonicalize: @escaping BodyCanonicalizer, metrics: MetricShard, report: @escaping (TierEvent) -> Void
  ) {
    self.loop = loop
    self.canonicalize = canonicalize
    self.metrics = metrics
    self.workers = workers
    self.me = me
    self.report = report
    generator = SeededGenerator(seed: seed)
    resolver = Resolver(worker: workers.resolver, limits: limits, loop: loop, wake: loop.waker)
  }

  // MARK: what merging must know

  static func mergeSources(_ plan: TierPlan) -> [MergeSource] {
    plan.sources.map { source in
      let only = source.only
      switch source.kind {
      case .directory:
        return MergeSource(
          name: source.name, listsEverything: true, supplies: { only.admits($0) },
          admits: { only.admits($0) })
      case .upstream(let upstream):
        // What it is not asked for it cannot answer, and nothing may wait for that.
        let asked = Set(upstream.kinds.map(\.type))
        return MergeSource(
          name: source.name, listsEverything: false,
          supplies: { asked.contains($0) && only.admits($0) },
          admits: { only.admits($0) })
      }
    }
  }

  /// A relay with a source of its own is an origin; one that only has upstreams passes theirs on.
  static func truth(_ plan: TierPlan) -> PublishingDesk.Truth {
    plan.sources.contains(where: \.isTruth) ? .origin(plan.origin) : .relayed(orElse: plan.origin)
  }

  // MARK: life

  func begin(_ plan: TierPlan, restored: Restored?) {
    for source in plan.sources {
      var entry = open(source, plan, restored?.part(of: source.name))
      entry.isRestored = restored?.sources.contains { $0.name == source.name && $0.isComplete } ?? false
      if entry.isRestored { entry.state = .stale }
      entries.append(entry)
    }
    for entry in entries { start(entry) }
  }

  /// Ends sources that are gone or changed, begins those that are new or changed, keeps the rest as they are.
  func replace(_ plan: TierPlan, previous: TierPlan) {
    var kept: [Entry] = []
    for source in plan.sources {
      if previous.sources.contains(source), let entry = entries.first(where: { $0.name == source.name }) {
        adopt(plan, previous, in: entry)
        kept.append(entry)
      } else {
        kept.append(open(source, plan))
      }
    }
    let survivors = Set(kept.map { ObjectIdentifier($0.life.object) })
    for entry in entries where !survivors.contains(ObjectIdentifier(entry.life.object)) { stop(entry) }
    let known = Set(entries.map { ObjectIdentifier($0.life.object) })
    entries = kept
    for entry in entries where !known.contains(ObjectIdentifier(entry.life.object)) { start(entry) }
  }

  /// What a running source is bound by beside its own settings: from its next try or look on.
  private func adopt(_ plan: TierPlan, _ previous: TierPlan, in entry: Entry) {
    switch entry.life {
    case .upstream(let subscription):
      // Unchanged ones stay as the subscription itself has adapted them.
      guard plan.limits != previous.limits || plan.minimumTLS != previous.minimumTLS else { return }
      subscription.adopt(limits: plan.limits, minimumTLS: plan.minimumTLS)
    case .directory(let origin):
      origin.adopt(quiet: plan.quiet, max: plan.quietMost, limits: plan.limits)
    }
  }

  func stop() { for entry in entries { stop(entry) } }

  func open(
    _ source: SourcePlan, _ plan: TierPlan, _ held: HeldPart? = nil
  ) -> Entry {
    switch source.kind {
    case .upstream(let upstream):
      let follower = upstream.follower(
        of: source, plan, me: me, canonicalize: canonicalize, held: held)
      let subscription = Subscription(
        upstream.settings(of: source, plan), follower: follower, loop: loop, limits: plan.limits,
        memory: memory, resolver: resolver, metrics: metrics, seed: generator.next(), owner: self)
      return Entry(
        name: source.name, kind: "upstream", since: loop.wallClock,
        authority: watch(upstream, for: subscription), life: .upstream(subscription))
    case .directory(let path):
      let name = source.name
      var settings = DirectorySettings(path: path)
      settings.quiet = plan.quiet
      settings.max = plan.quietMost
      let state = DirectoryState(
        source: name, folder: path, limits: plan.limits, previous: held?.resources ?? [],
        rewrite: source.expandHosts.map { ShortHosts(domain: $0).rewriter })
      let origin = DirectoryOrigin(settings, state: state, loop: loop, worker: workers.manifests) {
        [weak self] report in self?.received(report)
      }
      return Entry(name: name, kind: "directory", since: loop.wallClock, life: .directory(origin))
    }
  }

  /// The authority of an upstream without an SVID, kept fresh.
  private func watch(_ upstream: UpstreamPlan, for subscription: Subscription) -> AuthorityWatch? {
    guard case .host(_, let file) = upstream.server else { return nil }
    let (name, report) = (subscription.settings.source, report)
    return AuthorityWatch(
      file, loop: loop, worker: workers.identity,
      adopt: { [weak subscription] in subscription?.adopt(authority: $0) },
      failed: { [weak subscription] reason in
        report(
          TierEvent(
            .error,
            "the authority of an upstream is not usable; a good one that was read before stays in use",
            [.init("source", name), .init("reason", reason)]))
        subscription?.authorityFailed(reason)
      })
  }

  func start(_ entry: Entry) {
    entry.authority?.start()
    switch entry.life {
    case .upstream(let subscription): if let credentials { subscription.adopt(credentials) }
    case .directory(let origin): origin.start()
    }
  }

  func stop(_ entry: Entry) {
    entry.authority?.stop()
    switch entry.life {
    case .upstream(let subscription): subscription.stop()
    case .directory(let origin): origin.stop()
    }
  }

  func adopt(_ credentials: Credentials) {
    self.credentials = credentials
    for case .upstream(let subscription) in entries.map(\.life) { subscription.adopt(credentials) }
  }

  func pickUp() {
    resolver.deliver()
    for entry in entries { entry.authority?.pickUp() }
    for case .directory(let origin) in entries.map(\.life) { origin.collect() }
  }

  // MARK: an operator's word

  /// Why a source cannot be taken over.
  enum AdoptionRefusal: Error {
    case unknown(known: [String])
    /// It offers nothing that is not served already.
    case nothingOffered(SourceStatus.State, String?)
  }

  /// Takes over what a source offers, although it is older than what is served, of another origin, or empty.
  func adoptOffer(of name: String) throws(AdoptionRefusal) {
    guard let entry = entries.first(where: { $0.name == name }) else {
      throw .unknown(known: entries.map(\.name))
    }
    guard entry.state == .behind || entry.state == .failed, !entry.offersNothing else {
      throw .nothingOffered(entry.state, entry.lastError)
    }
    switch entry.life {
    case .upstream(let subscription): subscription.adoptOffer()
    case .directory(let origin): origin.adoptEmpty()
    }
  }

  // MARK: from the sources

  /// How long what is served may be behind the truth: zero while every source is in step.
  var staleness: Duration {
    let lost = entries.filter { $0.state == .stale || $0.state == .failed || $0.state == .behind }
    guard let since = lost.map(\.since).min() else { return .zero }
    return .milliseconds(max(0, loop.wallClock.milliseconds - since.milliseconds))
  }

  private func received(_ found: DirectoryReport) {
    change(found.source) { entry in
      tell(of: found.rejected.filter { !entry.rejected.contains($0) }, source: found.source)
      entry.rejected = found.rejected
      entry.offersNothing = found.fault.map { !$0.isEmpty } ?? false
      if let fault = found.fault {
        become(&entry, .failed, fault.description)
      } else {
        become(&entry, .synced, found.watchTrouble)
      }
    }
    if !found.updates.isEmpty { deliver(found.updates) }
  }

  /// Most rejections that are told one by one. Reason: a broken checkout must not flood the journal;
  /// status lists the first thousand.
  private static let toldAtOnce = 20

  private func tell(of rejections: [Rejection], source: String) {
    for rejection in rejections.prefix(SourceSet.toldAtOnce) {
      report(
        TierEvent(
          .warning, "set aside",
          [
            .init("source", source), .init("place", rejection.place),
            .init("resource", rejection.resource), .init("reason", rejection.reason),
          ]))
    }
    let rest = rejections.count - SourceSet.toldAtOnce
    if rest > 0 {
      report(
        TierEvent(
          .warning, "more set aside; see status", [.init("source", source), .init("count", String(rest))]))
    }
  }

  func subscription(_ subscription: Subscription, received updates: [SourceUpdate]) {
    change(subscription.settings.source) { entry in
      tell(of: updates.flatMap { entry.memory.take($0) }, source: entry.name)
      entry.rejected = entry.memory.all
    }
    deliver(updates)
  }

  func subscription(_ subscription: Subscription, became health: Subscription.Health) {
    change(subscription.settings.source) { entry in
      entry.offersNothing = subscription.isTurnedAway
      switch health {
      case .connecting(let error): become(&entry, entry.isRestored ? .stale : .connecting, error)
      case .following: become(&entry, .synced, nil)
      case .stale(let error): become(&entry, .stale, error)
      case .failed(let error): become(&entry, .failed, error)
      case .behind(let error): become(&entry, .behind, error)
      }
    }
    refused(subscription.settings.source, subscription.isRefused)
  }

  func subscription(_ subscription: Subscription, wasGranted text: String?) {
    granted(subscription.settings.source, text)
  }

  /// Takes over what the publisher found.
  func note(_ outcome: PublishReport) {
    for index in entries.indices {
      entries[index].resources = outcome.resources[entries[index].name] ?? entries[index].resources
      if let filtered = outcome.setAside[entries[index].name] { entries[index].filtered = filtered }
    }
  }

  func change(_ name: String, _ body: (inout Entry) -> Void) {
    guard let index = entries.firstIndex(where: { $0.name == name }) else { return }
    body(&entries[index])
  }

  func become(_ entry: inout Entry, _ state: SourceStatus.State, _ error: String?) {
    if entry.state != state {
      entry.since = loop.wallClock
      report(
        TierEvent(
          error == nil ? .notice : .warning, "source is \(state.rawValue)",
          [.init("source", entry.name)] + (error.map { [.init("reason", $0)] } ?? [])
        ).recording(entry.record(of: state, error)))
    } else if let error, error != entry.lastError {
      report(
        TierEvent(
          .warning, "source is still \(state.rawValue)",
          [.init("source", entry.name), .init("reason", error)]
        ).recording(entry.record(of: state, error)))
    }
    entry.state = state
    entry.lastError = error
  }
}

extension SourceSet.Entry {
  fileprivate func record(of state: SourceStatus.State, _ error: String?) -> AuditRecord {
    var record = AuditRecord(.source, reason: state.rawValue + (error.map { ": " + $0 } ?? ""))
    record.source = name
    return record
  }
}

/// What one source had delivered before a restart.
struct HeldPart {
  let collections: [TypeName: Collection]
  let positions: [TypeName: Position]

  var resources: [Resource] {
    collections.sorted { $0.key < $1.key }.flatMap(\.value.resources)
  }
}

extension Restored {
  fileprivate func part(of source: String) -> HeldPart {
    let mark = sources.first { $0.name == source }
    let own = collections.mapValues { $0.part(of: source) }
    return HeldPart(collections: own, positions: mark?.standings(of: own.keys) ?? [:])
  }
}

extension SourceSet.Life {
  fileprivate var object: AnyObject {
    switch self {
    case .upstream(let subscription): subscription
    case .directory(let origin): origin
    }
  }
}
