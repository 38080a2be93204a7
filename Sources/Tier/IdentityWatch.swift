// Keeps this relay's credentials fresh, from files or from the SPIFFE Workload API, and publishes what changed.
//
// Files: looked at every second on a worker, which means comparing dates and sizes; reading and verifying happens
// only after a change. Workload API: a stream that says every rotation; files of bundles may stand beside it. What
// is bad changes nothing but the status: the last good identity goes on, whatever becomes of its source.

import Identity
import Primitives
import Ring
import SPIFFE
import Transport
import Trust

final class IdentityWatch: TimerHandler {
  private enum Finding: Sendable {
    case unchanged
    case identity(FileIdentity.Contents, fingerprint: String, [IdentityWarning])
    case bundles([TrustDomain: Bundle], faults: [TrustDomain: IdentityError], fingerprint: String)
    case failed(IdentityError)
  }

  /// What can be wrong at the same time, in the order in which it is told.
  private enum Concern: Hashable, Comparable {
    case files, agent
    case bundle(TrustDomain)
    case endpoint(TrustDomain)
    case keeping
    case keyMode
    case toldTwice
  }

  private enum Tag: Int { case look, offer }

  /// How often the files are looked at. Reason: rotation halfway through a life of minutes to hours.
  private static let interval: Duration = .seconds(1)
  /// Looks that may find a key beside another key's SVID before it is told. Reason: an issuer replaces two files
  /// one after the other, and some take a while.
  private static let mismatchesMost = 3
  /// How often an offer that could not be used is tried again. Reason: of a certificate of the near future time
  /// itself makes a good one.
  private static let offerInterval: Duration = .seconds(5)

  private var plan: TierPlan.IdentityPlan
  private var federation: [BundleEndpoint]
  private let loop: EventLoop
  private var limits: Limits
  private let worker: any Worker
  private let findings: Mailbox<Finding>
  private let adopt: (Credentials) -> Void
  private let report: (TierEvent) -> Void
  private var generator: SeededGenerator
  private var book = IdentityBook()
  private var client: WorkloadClient?
  private var endpoints: [BundleEndpointClient] = []
  private let keeper: BundleKeeper
  /// What is on disk has not been read yet: endpoints are asked after it.
  private var isRestoring = false
  /// Published by endpoints, and not given to the keeper while it is not known whether they are our own.
  private var fetched: [TrustDomain: KeptBundle] = [:]
  /// When the bundles in use came that an earlier process fetched.
  private var keptSince: [TrustDomain: Timestamp] = [:]
  private let resolver: Resolver
  /// The agent's newest answer while it could not be used.
  private var unusableOffer: WorkloadOffer?
  private var fingerprint: String?
  private var mismatches = 0
  private var looking = false
  private var lookTimer = TimerID.none
  private var offerTimer = TimerID.none
  private var concerns: [Concern: String] = [:]
  private(set) var health: IdentityHealth
  private(set) var credentials: Credentials?

  init(
    _ plan: TierPlan, loop: EventLoop, worker: any Worker, resolverWorker: any Worker, seed: UInt64,
    adopt: @escaping (Credentials) -> Void,
    report: @escaping (TierEvent) -> Void
  ) {
    self.plan = plan.identity
    self.loop = loop
    limits = plan.limits
    health = IdentityHealth(goal: plan.offlineGoal)
    self.worker = worker
    self.adopt = adopt
    self.report = report
    generator = SeededGenerator(seed: seed)
    resolver = Resolver(worker: resolverWorker, limits: plan.limits, wake: loop.waker)
    federation = plan.federation
    findings = Mailbox(capacity: 16, wake: loop.waker)
    keeper = BundleKeeper(state: plan.state, worker: worker, wake: loop.waker)
  }

  /// Why there is no identity, or not the newest; sentences.
  var warnings: [String] { concerns.sorted { $0.key < $1.key }.map(\.value) + health.warnings }

  // MARK: life

  func start() {
    startSource()
    isRestoring = keeper.restore(federation)
    if !isRestoring { for endpoint in federation { start(endpoint) } }
  }

  private func startSource() {
    switch plan {
    case .fixed(let credentials): take(credentials)
    case .files: look()
    case .workloadAPI(let endpoint, _, let bundles):
      let client = WorkloadClient(
        endpoint, loop: loop, limits: limits, seed: generator.next(), owner: self)
      self.client = client
      client.start()
      if bundles.paths.isEmpty { forgetBundleFiles() } else { look() }
    }
  }

  /// Takes over what a reload found.
  func follow(_ next: TierPlan) {
    health.goal = next.offlineGoal
    limits = next.limits
    if next.identity != plan { follow(next.identity) }
    if next.federation != federation { follow(next.federation) }
  }

  /// Looks elsewhere from now on. What is in use stays until something sound is found there.
  private func follow(_ next: TierPlan.IdentityPlan) {
    client?.stop()
    client = nil
    unusableOffer = nil
    fingerprint = nil
    concerns = concerns.filter { if case .endpoint = $0.key { true } else { false } }
    loop.cancel(lookTimer)
    loop.cancel(offerTimer)
    plan = next
    startSource()
  }

  // MARK: bundle endpoints

  private func start(_ endpoint: BundleEndpoint, kept: Bundle? = nil) {
    let client = BundleEndpointClient(
      endpoint, kept: kept, loop: loop, resolver: resolver, seed: generator.next(), owner: self)
    endpoints.append(client)
    client.start()
  }

  /// What an endpoint has published that is asked no more is gone; the others go on as they were.
  private func follow(_ next: [BundleEndpoint]) {
    federation = next
    for client in endpoints where !next.contains(client.endpoint) {
      client.stop()
      settle(.endpoint(client.endpoint.trustDomain))
    }
    endpoints.removeAll { !next.contains($0.endpoint) }
    let known = Set(endpoints.map(\.endpoint))
    book.keep(endpointsOf: Set(known.map(\.trustDomain)))
    fetched = fetched.filter { known.contains($0.value.endpoint) }
    keptSince = keptSince.filter { domain, _ in known.contains { $0.trustDomain == domain } }
    keeper.forget(besides: foreignFederation)
    if !isRestoring { for endpoint in next where !known.contains(endpoint) { start(endpoint) } }
    publish()
  }

  /// What was on disk at the start. An endpoint that was taken out of the configuration meanwhile is none.
  private func restored(_ kept: [KeptBundle], _ troubles: [ShelfTrouble]) {
    isRestoring = false
    settle(.keeping, troubles.first?.description, .warning)
    for trouble in troubles.dropFirst() {
      report(TierEvent(.warning, "identity: a kept bundle is not used", [.init("reason", "\(trouble)")]))
    }
    for endpoint in federation {
      guard let found = kept.first(where: { $0.endpoint == endpoint }) else {
        start(endpoint)
        continue
      }
      book.take(kept: found)
      keptSince[endpoint.trustDomain] = found.fetchedAt
      report(
        TierEvent(
          .notice, "a kept bundle is used until its endpoint answers, or somebody has a newer one",
          [
            .init("trust_domain", endpoint.trustDomain.name), .init("fetched_at", found.fetchedAt.rfc3339),
          ]))
      start(endpoint, kept: found.bundle)
    }
    publish()
  }

  /// The endpoints of other trust domains than our own.
  private var foreignFederation: [BundleEndpoint] {
    federation.filter { $0.trustDomain != credentials?.svid.id.trustDomain }
  }

  /// Never our own trust domain's: that one comes with our SVID.
  private func keepFetched() {
    guard let own = credentials?.svid.id.trustDomain else { return }
    for (trustDomain, bundle) in fetched.sorted(by: { $0.key < $1.key }) where trustDomain != own {
      keeper.keep(bundle)
    }
    fetched = [:]
  }

  /// Call about once a second.
  func beat() {
    lookAtHealth()
    pickUpKept()
  }

  private func lookAtHealth() {
    let now = loop.steadyWallClock
    for event in health.look(credentials, at: now, jump: loop.wallClockJump) { report(event) }
  }

  /// - Parameter synchronised: whether somebody keeps this host's clock right; nil: the kernel does not say.
  func note(synchronised: Bool?) {
    for event in health.note(synchronised: synchronised) { report(event) }
  }

  func timerFired(_ id: TimerID, tag: Int) {
    switch Tag(rawValue: tag) {
    case .look?: look()
    case .offer?: if let offer = unusableOffer { consider(offer) }
    case nil: break
    }
  }

  // MARK: files

  private func look() {
    guard !looking else { return }
    let (findings, known, now) = (findings, fingerprint, loop.steadyWallClock)
    switch plan {
    case .fixed: return
    case .files(let files):
      looking = worker.submit { findings.push(IdentityWatch.examine(files, known: known, now: now)) }
    case .workloadAPI(_, _, let files):
      guard !files.paths.isEmpty else { return }
      looking = worker.submit { findings.push(IdentityWatch.examine(files, known: known)) }
    }
    // A worker that is busy is asked again a second later.
    if !looking { again() }
  }

  private func again() {
    loop.cancel(lookTimer)
    lookTimer = loop.schedule(at: loop.now + IdentityWatch.interval, self, tag: Tag.look.rawValue)
  }

  private static func examine(_ files: FileIdentity, known: String?, now: Timestamp) -> Finding {
    let fingerprint = files.fingerprint()
    guard fingerprint != known else { return .unchanged }
    do throws(IdentityError) {
      return .identity(try files.read(at: now), fingerprint: fingerprint, files.warnings())
    } catch {
      return .failed(error)
    }
  }

  private static func examine(_ files: BundleFiles, known: String?) -> Finding {
    let fingerprint = files.fingerprint()
    guard fingerprint != known else { return .unchanged }
    let (bundles, faults) = files.read()
    return .bundles(bundles, faults: faults, fingerprint: fingerprint)
  }

  /// Call when the loop was woken.
  func pickUp() {
    resolver.deliver()
    pickUpKept()
    for finding in findings.drain() {
      looking = false
      again()
      switch (finding, plan) {
      case (.identity(let contents, let fingerprint, let warnings), .files):
        self.fingerprint = fingerprint
        mismatches = 0
        book.take(contents)
        settle(.files)
        settle(.keyMode, warnings.first?.description, .warning)
        settleFaults(contents.faults.mapValues(\.description))
        publish()
      case (.bundles(let bundles, let faults, let fingerprint), .workloadAPI):
        self.fingerprint = fingerprint
        book.take(files: (bundles, faults))
        settleFaults(faults.mapValues(\.description))
        publish()
      case (.failed(let error), .files): failed(error)
      default: break
      }
    }
  }

  private func pickUpKept() {
    for outcome in keeper.pickUp() {
      switch outcome {
      case .restored(let kept, let troubles): restored(kept, troubles)
      case .kept(_, let trouble): settle(.keeping, trouble?.description, .warning)
      case .forgotten: break
      }
    }
  }

  /// Looked at again every second: time itself may cure it, as it does with a certificate of the near future.
  private func failed(_ error: IdentityError) {
    if case .key(_, .keyDoesNotMatch) = error {
      mismatches += 1
      guard mismatches > IdentityWatch.mismatchesMost else { return }
    }
    settle(.files, error.description)
  }

  private func forgetBundleFiles() {
    book.take(files: ([:], [:]))
    publish()
  }

  // MARK: from the agent

  private func consider(_ offer: WorkloadOffer) {
    guard case .workloadAPI(_, let choice, _) = plan else { return }
    loop.cancel(offerTimer)
    do throws(WorkloadTrouble) {
      let identity = try offer.resolve(choice, at: loop.steadyWallClock)
      unusableOffer = nil
      book.take(identity)
      settle(.agent)
      settleFaults(identity.faults.mapValues(\.description))
      publish()
    } catch {
      unusableOffer = offer
      // Every answer is the full state: an identity that is not in it is taken back.
      if case .noSuchSVID = error, let own = book.svid?.id, !offer.names(own) { withdraw() }
      offerTimer = loop.schedule(
        at: loop.now + IdentityWatch.offerInterval, self, tag: Tag.offer.rawValue)
      settle(.agent, error.description)
    }
  }

  /// Nothing is shown of the SVID any more; what is open goes on (decision 085).
  private func withdraw() {
    guard book.withdraw(at: loop.steadyWallClock) else { return }
    publish()
  }

  // MARK: what it amounts to

  private func publish() {
    let twice = book.doublyTold.map(\.name).joined(separator: " ")
    settle(
      .toldTwice,
      twice.isEmpty
        ? nil
        : "a file of identity.bundles and the Workload API both have a bundle of \(twice): for our own trust domain "
          + "the Workload API's counts, for others the file's", .warning)
    let next = book.credentials(generation: (credentials?.generation ?? 0) + 1)
    guard let next, credentials?.hasSameContent(as: next) != true else { return }
    take(next)
  }

  private func take(_ next: Credentials) {
    let previous = credentials
    credentials = next
    if let time = next.withdrawnAt {
      report(
        TierEvent(
          .error, "the SPIFFE agent took our SVID back: open connections go on, no new ones are made",
          [.init("spiffe_id", next.svid.id.description), .init("at", time.rfc3339)]))
    }
    let isGivenAgain = previous?.withdrawnAt != nil && next.withdrawnAt == nil
    if previous?.svid.chain != next.svid.chain || isGivenAgain {
      report(
        TierEvent(
          .notice, "identity loaded",
          [
            .init("spiffe_id", next.svid.id.description), .init("expires_at", next.svid.notAfter.rfc3339),
            .init("survives_until", next.survivesUntil.rfc3339),
          ]))
    }
    if previous?.trusted != next.trusted {
      let names = next.bundles.keys.sorted().map(\.name)
      report(TierEvent(.notice, "bundles loaded", [.init("trust_domains", names.joined(separator: " "))]))
    }
    adopt(next)
    if previous?.svid.id.trustDomain != next.svid.id.trustDomain { keeper.forget(besides: foreignFederation) }
    keepFetched()
    lookAtHealth()
  }

  /// Nil: it is well again.
  private func settle(_ concern: Concern, _ text: String? = nil, _ level: TierEvent.Level = .error) {
    guard concerns[concern] != text else { return }
    concerns[concern] = text
    guard let text else { return }
    let lasting =
      credentials.map { $0.withdrawnAt == nil } == true
      ? "the last good identity stays in use" : "no connection can be made or accepted"
    let consequence = level == .error ? lasting : "it is in use, but look at this"
    report(TierEvent(level, "identity: \(consequence)", [.init("reason", text)]))
  }

  private func settleFaults(_ faults: [TrustDomain: String]) {
    for case .bundle(let trustDomain) in concerns.keys where faults[trustDomain] == nil {
      settle(.bundle(trustDomain))
    }
    for (trustDomain, text) in faults.sorted(by: { $0.key < $1.key }) { settle(.bundle(trustDomain), text) }
  }
}

extension IdentityWatch: WorkloadClientOwner {
  func workload(_ client: WorkloadClient, offered offer: WorkloadOffer) { consider(offer) }

  func workload(_ client: WorkloadClient, isInTrouble trouble: WorkloadTrouble) {
    if case .withdrawn = trouble { withdraw() }
    settle(.agent, trouble.description)
  }
}

extension IdentityWatch: BundleEndpointOwner {
  func bundle(of trustDomain: TrustDomain) -> Bundle? { book.bundle(of: trustDomain) }

  func endpoint(_ endpoint: BundleEndpoint, published bundle: Bundle) {
    book.take(published: bundle)
    keptSince[endpoint.trustDomain] = nil
    fetched[endpoint.trustDomain] = KeptBundle(
      endpoint: endpoint, bundle: bundle, fetchedAt: loop.steadyWallClock)
    keepFetched()
    settle(
      .endpoint(endpoint.trustDomain),
      bundle.trustDomain == credentials?.svid.id.trustDomain
        ? "identity.federation names \(endpoint.trustDomain), which is our own trust domain: its bundle comes with "
          + "our SVID, and what the endpoint publishes is not used" : nil, .warning)
    publish()
  }

  func endpoint(_ endpoint: BundleEndpoint, isInTrouble trouble: BundleEndpointTrouble) {
    let kept = keptSince[endpoint.trustDomain].map {
      ". It has not answered since this process was started; "
        + (book.isKept(endpoint.trustDomain)
          ? "in use is what it published before, fetched at \($0.rfc3339)"
          : "what it published before, fetched at \($0.rfc3339), has given way to a newer bundle")
    }
    settle(.endpoint(endpoint.trustDomain), trouble.description + (kept ?? ""))
  }
}

extension Credentials {
  /// How long this host lasts if nothing renews its SVID and its own trust domain's bundle.
  var survivesUntil: Timestamp {
    let ends = [svid.notAfter, bundles[svid.id.trustDomain]?.notAfter, withdrawnAt].compactMap { $0 }
    return ends.min() ?? svid.notAfter
  }

  fileprivate var trusted: [TrustDomain: [[UInt8]]] { bundles.mapValues(\.content) }

  fileprivate func hasSameContent(as other: Credentials) -> Bool {
    svid.chain == other.svid.chain && trusted == other.trusted && withdrawnAt == other.withdrawnAt
  }
}
