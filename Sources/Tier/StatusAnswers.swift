// What the relay says about itself: readiness, status, metrics, dump and explain, from the control loop's state.

import Admin
import Audit
import Configuration
import Downstream
import Gates
import Metrics
import Policy
import Primitives
import Ring
import SPIFFE
import Snapshots
import Transport
import Trust
import Upstream

extension ControlLoop {
  /// - Parameter clockSynchronised: whether somebody keeps this host's clock right; nil: the kernel does not say.
  public func note(clockSynchronised: Bool?) { identity.note(synchronised: clockSynchronised) }

  func answer(_ request: AdminRequest, _ reply: @escaping @Sendable (AdminReply) -> Void) {
    switch request {
    case .healthz:
      reply(everyLoopAnswers ? .text("ok\n") : .error(status: 503, "A serve loop does not answer"))
    case .readyz: reply(.readiness(readiness))
    case .metrics: reply(.metrics(exposition))
    case .status:
      askForClients { [weak self] clients, sinks in
        guard let self else { return }
        reply(.json(status(of: clients, sinks).json))
      }
    case .dump(let identity, let type):
      heed(reply) { () throws(AdminRefusal) in
        let (id, typeName) = (try SPIFFEID(asked: identity), try type.map(TypeName.init(asked:)))
        looked("dump as " + identity, as: id, type: type, reply) { $0.dump(as: id, type: typeName, reply) }
      }
    case .explain(let identity, let type, let name):
      heed(reply) { () throws(AdminRefusal) in
        let (id, typeName) = (try SPIFFEID(asked: identity), try TypeName(asked: type))
        looked("explain \(name) as \(identity)", as: id, type: type, reply) { control in
          reply(control.explain(as: id, type: typeName, name: name))
        }
      }
    case .history: looked("history", reply) { $0.tellHistory(reply) }
    case .diff(let question):
      heed(reply) { () throws(AdminRefusal) in
        let id = try check(question)
        looked("diff " + question.words, as: id, reply) { $0.tellDifference(question, reply) }
      }
    case .command(let command): carryOut(command, reply)
    case .transfer(let transfer): carryOut(transfer, reply)
    }
  }

  /// A slip in a question is answered at once: nothing is looked at.
  private func heed(_ reply: (AdminReply) -> Void, _ ask: () throws(AdminRefusal) -> Void) {
    do throws(AdminRefusal) { try ask() } catch { reply(error.reply) }
  }

  /// Whom it is about, if that is one identity.
  private func check(_ question: DiffQuestion) throws(AdminRefusal) -> SPIFFEID? {
    for version in [question.from, question.to].compactMap({ $0 }) {
      if let error = VersionError(checking: version) { throw AdminRefusal(GateRefusal.version(error).reply) }
    }
    guard case .identity(let text) = question.subject else { return nil }
    return try SPIFFEID(asked: text)
  }

  /// Sources have been lost for longer than `staleAfter` allows.
  var isTooStale: Bool { plan.staleAfter.map { sources.staleness > $0.after } ?? false }

  var staleness: String {
    "what is served may be out of date: sources were lost \(Int(sources.staleness.inSeconds)) seconds ago"
  }

  /// Ready when everything a client could ask for can be answered.
  var readiness: Readiness {
    var reasons: [String] = []
    if let credentials = identity.credentials {
      if credentials.svid.notAfter < loop.steadyWallClock {
        reasons.append("our own SVID expired at \(credentials.svid.notAfter.rfc3339)")
      }
      if let time = credentials.withdrawnAt {
        reasons.append("the SPIFFE agent took our SVID back at \(time.rfc3339)")
      }
    } else {
      let why = identity.warnings
      reasons.append("no usable identity" + (why.isEmpty ? " yet" : ": " + why.joined(separator: "; ")))
    }
    if !isComplete {
      let waiting = sources.entries.filter { $0.state == .connecting || $0.state == .failed }.map(\.name)
      reasons.append(
        "waiting for the first complete state of "
          + (waiting.isEmpty ? "all sources" : waiting.joined(separator: ", ")))
    }
    if isTooStale, plan.staleAfter?.endsReadiness == true {
      reasons.append(staleness)
    }
    if let obstacle = audit.obstacle { reasons.append(obstacle) }
    return Readiness(reasons: reasons)
  }
}

extension ControlLoop {
  func status(of clients: [ClientFacts], _ sinks: [SinkFacts]) -> RelayStatus {
    RelayStatus(
      node: me.node, version: version, readiness: readiness, identity: identityStatus,
      config: configStatus, policy: policyStatus.with(ungranted: grantDesk.status),
      shadow: shadowDesk.status(beside: rules), snapshot: snapshotStatus,
      sources: sources.entries.map(\.status),
      clients: clients.map(ClientStatus.init).sorted { ($0.cluster, $0.address) < ($1.cluster, $1.address) },
      push: sinks.map(SinkStatus.init).sorted { $0.address < $1.address },
      gates: gateDesk.standings.map(GateStatus.init), audit: audit.status, store: storeStatus,
      io: loop.kind.rawValue,
      ioReason: loop.fallbackReason?.description)
  }

  private var storeStatus: StoreStatus {
    guard persistence != nil else { return StoreStatus(state: .off) }
    return StoreStatus(state: stateError == nil ? .saving : .failing, error: stateError)
  }

  private var identityStatus: IdentityStatus? {
    guard let credentials = identity.credentials else { return nil }
    return IdentityStatus(
      spiffeID: credentials.svid.id.description, expiresAt: credentials.svid.notAfter,
      survivesUntil: credentials.survivesUntil, trustDomains: credentials.bundles.keys.sorted().map(\.name),
      warnings: identity.warnings)
  }

  private var snapshotStatus: SnapshotStatus? {
    guard let published, isComplete else { return nil }
    return SnapshotStatus(
      version: published.version.description, origin: published.position.origin,
      sequence: published.position.sequence, resources: published.resources,
      publishedAt: published.position.published,
      path: published.position.path.dropLast().map {
        SnapshotStatus.Hop(instance: $0.instance, node: $0.node)
      })
  }

  private var exposition: [UInt8] {
    var facts = RelayFacts(version: version)
    facts.resources = (published?.byType ?? []).map { (type: $0.type.description, count: $0.count) }
    facts.sequence = isComplete ? published?.position.sequence : nil
    facts.sources = sources.entries.map {
      RelayFacts.Source(
        name: $0.name, isUp: $0.state == .synced, rejected: $0.rejected.count + $0.filtered.count)
    }
    facts.staleness = sources.staleness
    facts.svidExpiry = identity.credentials?.svid.notAfter
    facts.survivesUntil = identity.credentials?.survivesUntil
    facts.isOfflineGoalMet = identity.health.isGoalMet
    facts.isClockSynchronised = identity.health.isSynchronised
    facts.configOK = configStatus.state == .current
    facts.policyOK = policyStatus.state == .current
    facts.ungrantedRules = grantDesk.counts
    facts.shadow = shadowDesk.counts.map {
      RelayFacts.Shadow(isOK: $0.isOK, clusters: $0.clusters, differences: $0.changes)
    }
    facts.heldViews = gateDesk.standings.count { $0.kind == .held }
    facts.pinnedClusters = gateDesk.standings.count { $0.kind == .pinned }
    facts.memoryBytes = ResidentMemory.bytes
    audit.fill(&facts)
    facts.stateOK = persistence.map { _ in stateError == nil }
    return Exposition(shards: shards, facts: facts, knownTypes: Kinds.all.map(\.type.description)).text
  }
}

extension ControlLoop {
  /// Where and why an object, or a form of it, was set aside; nil when it was not.
  func rejection(of label: String) -> Rejection? {
    sources.entries.lazy.flatMap { $0.rejected + $0.filtered }.first { $0.resource == label }
  }
}

/// Why a question has no answer.
struct AdminRefusal: Error {
  let reply: AdminReply

  init(_ reply: AdminReply) { self.reply = reply }

  init(_ status: Int, _ text: String) { reply = .error(status: status, text) }
}

extension SPIFFEID {
  init(asked text: String) throws(AdminRefusal) {
    do throws(SPIFFEError) { self = try SPIFFEID(parsing: text) } catch {
      throw AdminRefusal(400, error.description)
    }
  }
}

extension TypeName {
  init(asked text: String) throws(AdminRefusal) {
    guard let type = TypeName(written: text) else {
      throw AdminRefusal(400, "'\(ForeignText.line(text))' is not group/Kind")
    }
    self = type
  }
}

extension PolicyStatus {
  fileprivate func with(ungranted: [UngrantedStatus]) -> PolicyStatus {
    var whole = self
    whole.ungranted = Array(ungranted.prefix(PolicyStatus.ungrantedListed))
    whole.ungrantedTotal = ungranted.count
    return whole
  }
}

extension DiffQuestion {
  /// In words, for the record.
  fileprivate var words: String {
    let whom =
      switch subject {
      case .identity(let id): "as \(id)"
      case .cluster(let name): "of the cluster \(name)"
      case .all: "of all clusters"
      }
    return whom + (judge == .shadow ? ", shadow" : "")
  }
}

extension ClientStatus {
  init(_ facts: ClientFacts) {
    self.init(
      spiffeID: facts.id.description, cluster: facts.cluster, address: facts.address,
      protocol: facts.dialect, connectedAt: facts.connectedAt,
      types: Dictionary(
        facts.subscriptions.map { subscription in
          (
            subscription.typeURL,
            Subscription(
              sent: subscription.sent, acked: subscription.acknowledged, nacks: subscription.rejections,
              lastNack: subscription.lastRejection)
          )
        }, uniquingKeysWith: { first, _ in first }))
  }
}

extension SinkStatus {
  init(_ facts: SinkFacts) {
    self.init(
      address: facts.plan.endpoint.description, spiffeID: facts.plan.peer.description,
      state: State(rawValue: facts.state.rawValue) ?? .failed, since: facts.since,
      lastError: facts.lastError)
  }
}

extension SourceSet.Entry {
  var status: SourceStatus {
    SourceStatus(
      name: name, kind: kind, state: state, since: since, resources: resources,
      rejected: (rejected + filtered).map {
        SourceStatus.Rejection(place: $0.place, resource: $0.resource, reason: $0.reason)
      }, lastError: lastError ?? silence, address: address)
  }

  private var address: String? {
    guard case .upstream(let subscription) = life else { return nil }
    return subscription.address?.description
  }

  /// Types that an upstream has not answered although it was given the time.
  private var silence: String? {
    guard state == .synced, case .upstream(let subscription) = life else { return nil }
    let types = subscription.silent.map(\.text)
    guard !types.isEmpty else { return nil }
    let rest = types.count - SourceSet.Entry.silentTypesShown
    return "it has not answered for " + types.prefix(SourceSet.Entry.silentTypesShown).joined(separator: ", ")
      + (rest > 0 ? " and \(rest) more" : "")
  }

  private static let silentTypesShown = 5
}
