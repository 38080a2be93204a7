// The bundle of another trust domain, fetched from its bundle endpoint again and again.
//
//     waiting ─time─► fetching ─document─► waiting (as long as the document asks, within bounds)
//        ▲               └─failure─► waiting (seconds before the first document of this process, one interval after it)
//        └───────────────┘
//
// The last good bundle is whoever asked's to keep; here nothing is taken away by a failure. A redirection is
// followed with the same demands on the server, and the configured URL is asked again next time.
// Source: SPIFFE Federation, sections 5 and 6; WIRE.md 4.6.

public import Primitives
public import Ring
public import SPIFFE
import TLS
public import Transport
public import Trust

/// Where the bundle of `trustDomain` is, and who must answer there.
public struct BundleEndpoint: Sendable, Hashable {
  public enum Profile: Sendable, Hashable {
    /// `https_web`: authorities of this host, and the name of the URL.
    case web
    /// `https_spiffe`: exactly this workload.
    case spiffe(SPIFFEID)
  }

  public let trustDomain: TrustDomain
  public let target: HTTPSTarget
  public let profile: Profile

  public init(trustDomain: TrustDomain, target: HTTPSTarget, profile: Profile) {
    self.trustDomain = trustDomain
    self.target = target
    self.profile = profile
  }

  /// `publisher`: the workload that must answer; nil: a web server of that host.
  public init(trustDomain: TrustDomain, host: String, port: UInt16, path: String, publisher: SPIFFEID?) {
    self.init(
      trustDomain: trustDomain, target: HTTPSTarget(host: host, port: port, path: path),
      profile: publisher.map { .spiffe($0) } ?? .web)
  }
}

/// What the wiring hears of an endpoint. Called on the loop.
public protocol BundleEndpointOwner: AnyObject {
  /// The newest bundle we hold of a trust domain, from wherever: who answers may have to be verified by it.
  func bundle(of trustDomain: TrustDomain) -> Bundle?
  func endpoint(_ endpoint: BundleEndpoint, published bundle: Bundle)
  /// Told again only when the reason changes.
  func endpoint(_ endpoint: BundleEndpoint, isInTrouble trouble: BundleEndpointTrouble)
}

public final class BundleEndpointClient: TimerHandler {
  /// How often a publisher is asked that does not say. SPIFFE Federation, section 5.
  static let intervalStandard: Duration = .seconds(300)
  /// Bounds on what publishers ask for. Reasons: less would be a load for nothing; with more, an authority that was
  /// withdrawn would be trusted for long.
  static let intervalBounds: (least: Duration, most: Duration) = (.seconds(5), .seconds(3600))
  /// Waits before the first document.
  private static let waits: (first: Duration, longest: Duration) = (.seconds(1), .seconds(60))
  /// Bytes of a document. Reason: an authority has about 1 KiB.
  private static let documentBytesMax = 1024 * 1024
  private static let redirectionsMost = 5

  public let endpoint: BundleEndpoint
  private let loop: EventLoop
  private let resolver: Resolver
  private weak var owner: (any BundleEndpointOwner)?
  private var generator: SeededGenerator
  private var get: HTTPSGet?
  private var redirections = 0
  private var wait = BundleEndpointClient.waits.first
  private var timer = TimerID.none
  /// The last good one.
  private var bundle: Bundle?
  /// In this process: what was kept from an earlier one is old, and asked for anew without waiting long.
  private var hasAnswered = false
  private var trouble: BundleEndpointTrouble?

  /// - Parameter kept: what this endpoint published last, before the process was started.
  public init(
    _ endpoint: BundleEndpoint, kept: Bundle? = nil, loop: EventLoop, resolver: Resolver, seed: UInt64,
    owner: any BundleEndpointOwner
  ) {
    self.endpoint = endpoint
    bundle = kept
    self.loop = loop
    self.resolver = resolver
    self.owner = owner
    generator = SeededGenerator(seed: seed)
  }

  public func start() {
    redirections = 0
    fetch(endpoint.target)
  }

  public func stop() {
    owner = nil
    loop.cancel(timer)
    get?.cancel()
    get = nil
  }

  public func timerFired(_ id: TimerID, tag: Int) { start() }

  // MARK: fetching

  private func fetch(_ target: HTTPSTarget) {
    do throws(TLSError) {
      let context = try TLSContext(
        anonymousClientOf: "http/1.1",
        verifier: { [weak self] chain in
          self?.judge(chain, target.host) ?? .reject(.accessDenied, reason: "stopped")
        })
      let get = HTTPSGet(
        target, context: context, resolver: resolver, loop: loop,
        bodyBytesMax: BundleEndpointClient.documentBytesMax
      ) { [weak self] outcome in self?.answered(outcome, target) }
      self.get = get
      get.start()
    } catch {
      failed(.unreachable(target.description, reason: error.description))
    }
  }

  private func judge(_ chain: [Certificate], _ host: String) -> TLSVerdict {
    switch endpoint.profile {
    case .web:
      do throws(PathFailure) {
        try CertificatePath.validateForWeb(chain: chain, host: host, at: loop.steadyWallClock)
        return .accept
      } catch {
        return .reject(.badCertificate, reason: error.reason)
      }
    case .spiffe(let id):
      do throws(VerificationFailure) {
        // Of the server's own trust domain only, as everywhere; for a trust domain that publishes its own bundle
        // that is the last one it published.
        let known = owner?.bundle(of: id.trustDomain).map { [id.trustDomain: $0] } ?? [:]
        _ = try verifyPeer(chain: chain, bundles: known, at: loop.steadyWallClock, role: .server)
          .authorized(as: SPIFFEPattern(exactly: id))
        return .accept
      } catch {
        return error.verdict
      }
    }
  }

  private func answered(_ outcome: HTTPSGet.Outcome, _ target: HTTPSTarget) {
    get = nil
    switch outcome {
    case .failed(let reason): failed(.unreachable(target.description, reason: ForeignText.line(reason)))
    case .response(let response):
      switch response.status {
      case 200: received(response.body)
      case 301, 302, 303, 307, 308: redirected(response)
      default: failed(.refused(target.description, status: response.status))
      }
    }
  }

  private func redirected(_ response: HTTPResponse) {
    redirections += 1
    guard redirections <= BundleEndpointClient.redirectionsMost else {
      return failed(.badRedirection(endpoint.target.description, to: "too many times"))
    }
    let location = response.field("location") ?? ""
    guard let next = HTTPSTarget(url: location) else {
      return failed(
        .badRedirection(endpoint.target.description, to: ForeignText.line(String(location.prefix(200)))))
    }
    fetch(next)
  }

  private func received(_ document: [UInt8]) {
    let next: Bundle
    do throws(TrustError) {
      next = try Bundle.parse(json: document, trustDomain: endpoint.trustDomain)
    } catch {
      return failed(.unusable(endpoint.trustDomain, error))
    }
    if let last = bundle?.sequence, let sequence = next.sequence, sequence < last {
      return failed(.stepsBack(endpoint.trustDomain, from: last, to: sequence))
    }
    bundle = next
    hasAnswered = true
    trouble = nil
    wait = BundleEndpointClient.waits.first
    again(after: interval)
    owner?.endpoint(endpoint, published: next)
  }

  // MARK: again

  private var interval: Duration {
    let bounds = BundleEndpointClient.intervalBounds
    let hint = bundle?.refreshHint ?? BundleEndpointClient.intervalStandard
    return min(max(hint, bounds.least), bounds.most)
  }

  private func failed(_ trouble: BundleEndpointTrouble) {
    if hasAnswered {
      again(after: interval)
    } else {
      again(after: wait)
      wait = min(wait * 2, BundleEndpointClient.waits.longest)
    }
    guard trouble != self.trouble else { return }
    self.trouble = trouble
    owner?.endpoint(endpoint, isInTrouble: trouble)
  }

  /// Spread, so that the hosts of a fleet do not ask all at once.
  private func again(after pause: Duration) {
    loop.cancel(timer)
    timer = loop.schedule(at: loop.now + generator.jittered(pause, spread: 0.1), self, tag: 0)
  }
}
