// Whom this host would believe: a bundle for each trust domain that policy and configuration name, and bundle endpoints
// that answer, asked once as the relay asks them.

import Configuration
import Identity
import Policy
import Primitives
import Ring
import SPIFFE
import Transport
import Trust

struct TrustProbe {
  private let subject: DoctorSubject
  private let rules: PolicyRules?
  private let credentials: Credentials?

  init(_ subject: DoctorSubject, rules: PolicyRules?, credentials: Credentials?) {
    self.subject = subject
    self.rules = rules
    self.credentials = credentials
  }

  /// What was found, and all bundles there are.
  func examine() -> (findings: [DoctorFinding], bundles: [TrustDomain: Trust.Bundle]) {
    let files = BundleFiles(subject.identity.bundles.map { ($0.trustDomain, $0.path) })
    let known = credentials?.bundles ?? files.read().bundles
    let own = credentials?.svid.id.trustDomain
    var findings: [DoctorFinding] = []
    var bundles = known
    for (settings, outcome) in BundleFetch.all(subject.identity.federation, known: known) {
      if settings.trustDomain == own {
        findings.append(
          .warning(
            .trust, "identity.federation names \(settings.trustDomain), our own trust domain: it is not used",
            fix: "remove it from \(subject.file)"))
        continue
      }
      switch outcome {
      case .published(let bundle):
        bundles[settings.trustDomain] = bundle
        let sequence = bundle.sequence.map { ", sequence \($0)" } ?? ""
        findings.append(
          .ok(
            .trust,
            "\(settings.url): \(bundle.anchors.count) authorities of \(settings.trustDomain)\(sequence)"))
      case .failed(let trouble): findings.append(.of(trouble, .trust))
      case nil:
        findings.append(
          .problem(.trust, "\(settings.url) does not answer", fix: "curl -v \(settings.url)"))
      }
    }
    return (findings + named(in: bundles), bundles)
  }

  /// A trust domain without a bundle fails every handshake of its members.
  private func named(in bundles: [TrustDomain: Trust.Bundle]) -> [DoctorFinding] {
    let federated = Set(subject.identity.federation.map(\.trustDomain))
    let named = Set((rules?.trustDomains ?? []) + subject.trustDomainsDialled)
    // Without an identity it is not known what the agent would bring.
    var asked = named
    if credentials == nil, case .workloadAPI = subject.identity.source { asked = [] }
    var findings: [DoctorFinding] = []
    for trustDomain in asked.sorted() {
      switch bundles[trustDomain] {
      case nil where federated.contains(trustDomain): break
      case nil:
        findings.append(
          .problem(
            .trust,
            "there is no bundle of \(trustDomain), which policy or sources name: its members fail the handshake",
            fix: "add \(trustDomain) to identity.bundles or identity.federation in \(subject.file)"))
      case let bundle? where bundle.anchors.isEmpty:
        findings.append(
          .problem(
            .trust, "the bundle of \(trustDomain) is empty: all of its authorities are revoked",
            fix: "ask who operates \(trustDomain)"))
      case let bundle?: findings.append(age(of: bundle))
      }
    }
    return findings
  }

  private func age(of bundle: Trust.Bundle) -> DoctorFinding {
    let text = "\(bundle.trustDomain): \(bundle.anchors.count) authorities"
    guard let end = bundle.notAfter else { return .ok(.trust, text) }
    let now = wallClock()
    // SPIRE's authorities live for a day, and the next one is published hours before.
    let least: Int64 = 3600
    if end < now {
      return .problem(
        .trust, "\(text), and the last of them expired at \(end.rfc3339)",
        fix: "renew the bundle of \(bundle.trustDomain)")
    }
    guard end.seconds - now.seconds > least else {
      return .warning(
        .trust, "\(text), and the last of them expires at \(end.rfc3339)",
        fix: "renew the bundle of \(bundle.trustDomain)")
    }
    return .ok(.trust, "\(text), until \(end.rfc3339)")
  }
}

/// Asks all bundle endpoints once, at the same time.
private final class BundleFetch: BundleEndpointOwner, TimerHandler {
  enum Outcome {
    case published(Trust.Bundle)
    case failed(BundleEndpointTrouble)
  }

  /// Reason: a client of its own gives up after 20 s.
  private static let patience: Duration = .seconds(22)

  private let loop: EventLoop
  private let known: [TrustDomain: Trust.Bundle]
  private var outcomes: [TrustDomain: Outcome] = [:]
  private var awaited = 0

  private init(_ loop: EventLoop, known: [TrustDomain: Trust.Bundle]) {
    self.loop = loop
    self.known = known
  }

  static func all(
    _ endpoints: [FederationSettings], known: [TrustDomain: Trust.Bundle]
  ) -> [(FederationSettings, Outcome?)] {
    guard !endpoints.isEmpty, let driver = try? makeDriver(nil) else { return endpoints.map { ($0, nil) } }
    let loop = EventLoop(driver: driver)
    let fetch = BundleFetch(loop, known: known)
    let resolver = Resolver(worker: InlineWorker(), limits: Limits(), wake: loop.waker)
    loop.onWake = { [resolver] in resolver.deliver() }
    fetch.awaited = endpoints.count
    let clients = endpoints.map {
      BundleEndpointClient(
        BundleEndpoint($0), loop: loop, resolver: resolver, seed: .random(in: .min ... .max), owner: fetch)
    }
    loop.schedule(at: loop.now + patience, fetch, tag: 0)
    for client in clients { client.start() }
    if fetch.awaited > 0 { loop.run() }
    for client in clients { client.stop() }
    return endpoints.map { ($0, fetch.outcomes[$0.trustDomain]) }
  }

  func bundle(of trustDomain: TrustDomain) -> Trust.Bundle? { known[trustDomain] }

  func endpoint(_ endpoint: BundleEndpoint, published bundle: Trust.Bundle) {
    settle(endpoint, .published(bundle))
  }

  func endpoint(_ endpoint: BundleEndpoint, isInTrouble trouble: BundleEndpointTrouble) {
    settle(endpoint, .failed(trouble))
  }

  private func settle(_ endpoint: BundleEndpoint, _ outcome: Outcome) {
    guard outcomes[endpoint.trustDomain] == nil else { return }
    outcomes[endpoint.trustDomain] = outcome
    awaited -= 1
    if awaited == 0 { loop.stop() }
  }

  func timerFired(_ id: TimerID, tag: Int) { loop.stop() }
}

extension BundleEndpoint {
  init(_ settings: FederationSettings) {
    let url = settings.url
    self.init(
      trustDomain: settings.trustDomain, host: url.host, port: url.port, path: url.path,
      publisher: settings.publisher)
  }
}
