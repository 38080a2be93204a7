// Goal: the bundle of another trust domain is fetched from whom it must come from, as often as it asks for, and
// whatever the server does, the last good one stays. Method: OpenSSL as the server, on a simulated network with virtual
// time, so that hours of refreshing take no time.

import Foundation
import Identity
import Primitives
import Ring
import SPIFFE
import TestCertificates
import Testing
import Transport
import Trust

private let partner = TestAuthority("partner.org")
private let successor = TestAuthority("partner.org")
private let stranger = TestAuthority("partner.org")

/// A SPIFFE bundle document.
private func document(
  _ authorities: [TestAuthority], sequence: UInt64? = nil, hint: Int? = nil, padding: Int = 0
) -> [UInt8] {
  let keys = authorities.map {
    "{\"kty\":\"EC\",\"use\":\"x509-svid\",\"x5c\":[\"\(Base64.encode($0.certificate[...]))\"]}"
  }
  var members = ["\"keys\":[\(keys.joined(separator: ","))]"]
  if let sequence { members.append("\"spiffe_sequence\":\(sequence)") }
  if let hint { members.append("\"spiffe_refresh_hint\":\(hint)") }
  if padding > 0 { members.append("\"padding\":\"\(String(repeating: "x", count: padding))\"") }
  return Array("{\(members.joined(separator: ","))}".utf8)
}

private final class Stage: BundleEndpointOwner {
  let network = SimulatedNetwork(seed: 9, start: epoch)
  let server: RawServer
  let loop: EventLoop
  let resolver: Resolver
  private(set) var published: [Trust.Bundle] = []
  private(set) var troubles: [BundleEndpointTrouble] = []
  /// What the owner knows of trust domains from elsewhere.
  var known: [TrustDomain: Trust.Bundle] = [:]
  private(set) var client: BundleEndpointClient?

  init(identity: TestIdentity? = nil) throws {
    server = RawServer(network, identity: identity ?? partner.issue("spiffe://partner.org/spire"))
    loop = EventLoop(driver: SimulatedDriver(network: network, host: "relay"))
    let address = network.address(of: "server", port: RawServer.port)
    resolver = Resolver(
      worker: InlineWorker(), limits: Limits(), wake: loop.waker, lookUp: { _ in .addresses([address]) })
    loop.onWake = { [weak self] in self?.resolver.deliver() }
    try server.listen()
    known[try domain("partner.org")] = try Trust.Bundle(
      trustDomain: try domain("partner.org"), anchors: [partner.certificate])
  }

  func start(_ profile: BundleEndpoint.Profile, kept: Trust.Bundle? = nil) throws {
    let client = BundleEndpointClient(
      BundleEndpoint(
        trustDomain: try domain("partner.org"),
        target: HTTPSTarget(host: "bundles.partner.org", port: RawServer.port, path: "/bundle"),
        profile: profile), kept: kept, loop: loop, resolver: resolver, seed: 3, owner: self)
    self.client = client
    client.start()
  }

  func startSPIFFE(kept: Trust.Bundle? = nil) throws {
    try start(.spiffe(try SPIFFEID(parsing: "spiffe://partner.org/spire")), kept: kept)
  }

  func bundle(of trustDomain: TrustDomain) -> Trust.Bundle? {
    published.last { $0.trustDomain == trustDomain } ?? known[trustDomain]
  }
  func endpoint(_ endpoint: BundleEndpoint, published bundle: Trust.Bundle) { published.append(bundle) }
  func endpoint(_ endpoint: BundleEndpoint, isInTrouble trouble: BundleEndpointTrouble) {
    troubles.append(trouble)
  }

  func run(_ time: Duration) { network.run(for: time) }

  /// Seconds between the requests that were made.
  var gaps: [Double] {
    zip(server.requests.dropFirst(), server.requests).map { ($0.at - $1.at).inSeconds }
  }
}

/// What servers say instead of a document, and what is told of it.
enum WrongAnswer: String, CaseIterable {
  case html, noKeys, anothersAuthority, nothing, notFound, tooLarge, cutOff, noEnd, noHTTP, plainRedirection,
    circle,
    silence

  fileprivate var content: (RawAnswer, String) {
    switch self {
    case .html: (.ok(Array("<html>".utf8), type: "text/html"), "no SPIFFE bundle document")
    case .noKeys: (.ok(Array("{}".utf8)), "keys is missing")
    case .anothersAuthority: (.ok(document([TestAuthority("evil.org")])), "evil.org")
    case .nothing: (.ok([]), "no SPIFFE bundle document")
    case .notFound: (.status("404 Not Found"), "HTTP status 404")
    case .tooLarge: (.ok(document([partner], padding: 1024 * 1024)), "is larger than 1048576 bytes")
    case .cutOff: (.cut(Array("HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{".utf8)), "close_notify")
    case .noEnd: (.cut(Array("HTTP/1.1 200 OK\r\n\r\n".utf8) + document([successor])), "close_notify")
    case .noHTTP: (.text(Array("SSH-2.0-OpenSSH\r\n\r\n".utf8)), "does not answer as HTTP")
    case .plainRedirection:
      (.status("302 Found", "Location: http://bundles.partner.org/\r\n"), "redirects to")
    case .circle:
      (.status("302 Found", "Location: https://bundles.partner.org:8443/bundle\r\n"), "too many times")
    case .silence: (.silence, "no answer within 20 s")
    }
  }
}

struct BundleEndpointTests {
  @Test func theWorkloadNamedPublishes() throws {
    let stage = try Stage()
    stage.server.answer = .ok(document([partner, successor], sequence: 4, hint: 60))
    try stage.startSPIFFE()
    stage.run(.seconds(2))
    #expect(stage.published.map(\.anchors) == [[partner.certificate, successor.certificate]])
    #expect(stage.published[0].sequence == 4 && stage.published[0].refreshHint == .seconds(60))
    #expect(stage.troubles.isEmpty)
    let head = stage.server.requests[0].head
    #expect(head.hasPrefix("GET /bundle HTTP/1.1\r\nHost: bundles.partner.org:8443\r\n"))
  }

  /// Between a twentieth above and below a tenth: hosts of a fleet do not ask at once.
  @Test(arguments: [(60, 60.0), (1, 5.0), (1_000_000, 3_600.0), (nil, 300.0)] as [(Int?, Double)])
  func itAsksAsOftenAsItIsAskedTo(_ hint: Int?, _ seconds: Double) throws {
    let stage = try Stage()
    stage.server.answer = .ok(document([partner], hint: hint))
    try stage.startSPIFFE()
    stage.run(.seconds(seconds * 10))
    #expect((9...11).contains(stage.server.requests.count), "\(stage.gaps)")
    #expect(stage.gaps.allSatisfy { $0 > seconds * 0.85 && $0 < seconds * 1.15 + 1 }, "\(stage.gaps)")
  }

  /// Verified by what was published last, not by what we began with.
  @Test func aRotationOfThePublisherIsFollowed() throws {
    let stage = try Stage()
    stage.server.answer = .ok(document([partner, successor], sequence: 1, hint: 10))
    try stage.startSPIFFE()
    stage.run(.seconds(2))
    stage.server.identity = successor.issue("spiffe://partner.org/spire")
    stage.server.answer = .ok(document([successor], sequence: 2, hint: 10))
    stage.run(.seconds(12))
    #expect(stage.published.last?.anchors == [successor.certificate] && stage.troubles.isEmpty)
    // The old authority's time is over.
    stage.server.identity = partner.issue("spiffe://partner.org/spire")
    stage.server.answer = .ok(document([partner], sequence: 3, hint: 10))
    stage.run(.seconds(12))
    #expect(stage.published.last?.anchors == [successor.certificate])
    #expect(stage.troubles.count == 1)
  }

  @Test(arguments: [
    ("another workload", partner, "spiffe://partner.org/other"),
    ("a workload below it", partner, "spiffe://partner.org/spire/a"),
    ("another authority", stranger, "spiffe://partner.org/spire"),
  ])
  func nobodyElseIsAsked(_ name: String, _ authority: TestAuthority, _ id: String) throws {
    let stage = try Stage(identity: authority.issue(id))
    stage.server.answer = .ok(document([stranger]))
    try stage.startSPIFFE()
    stage.run(.seconds(30))
    #expect(
      stage.server.accepted > 2 && stage.server.requests.isEmpty, "no byte before the server is verified")
    #expect(stage.published.isEmpty && stage.troubles.count == 1)
  }

  @Test func anExpiredServerIsNotBelieved() throws {
    var plan = CertificatePlan.workload("spiffe://partner.org/spire")
    plan.notAfter = TestAuthority.epoch - 1
    let stage = try Stage(identity: partner.issue(plan))
    stage.server.answer = .ok(document([partner]))
    try stage.startSPIFFE()
    stage.run(.seconds(5))
    #expect(stage.server.requests.isEmpty)
    #expect(stage.troubles.first?.description.contains("expired") == true)
  }

  @Test func withoutABundleToBeginWithNobodyIsVerified() throws {
    let stage = try Stage()
    stage.known = [:]
    stage.server.answer = .ok(document([partner]))
    try stage.startSPIFFE()
    stage.run(.seconds(5))
    #expect(stage.published.isEmpty && stage.server.requests.isEmpty)
  }

  /// What a web server shows; the authorities of the host are this file.
  private func webServer(_ names: String, authority: TestAuthority) throws -> Stage {
    var plan = CertificatePlan()
    plan.subjectAlternativeName = names
    let stage = try Stage(identity: authority.issue(plan))
    stage.known = [:]
    return stage
  }

  @Test func aWebServerIsWhoItsNameSays() throws {
    let web = TestAuthority(
      "web",
      plan: {
        var plan = CertificatePlan.authority("web")
        plan.subjectAlternativeName = nil
        return plan
      }())
    let file = FileManager.default.temporaryDirectory.appending(path: "web-\(UUID().uuidString).pem")
    try web.certificatePEM.write(to: file, atomically: true, encoding: .utf8)
    defer { try? FileManager.default.removeItem(at: file) }
    unsafe setenv("SSL_CERT_FILE", file.path, 1)
    defer { unsafe unsetenv("SSL_CERT_FILE") }
    let good = try webServer("DNS:bundles.partner.org", authority: web)
    good.server.answer = .ok(document([partner]))
    try good.start(.web)
    good.run(.seconds(2))
    #expect(good.published.map(\.anchors) == [[partner.certificate]])
    for (names, authority) in [("DNS:other.partner.org", web), ("DNS:bundles.partner.org", stranger)] {
      let bad = try webServer(names, authority: authority)
      bad.server.answer = .ok(document([stranger]))
      try bad.start(.web)
      bad.run(.seconds(5))
      #expect(bad.published.isEmpty && bad.server.requests.isEmpty && bad.troubles.count == 1)
    }
  }

  /// Each is told, none is used, and the next good document is.
  @Test(arguments: WrongAnswer.allCases)
  func whatIsWrongChangesNothing(_ wrong: WrongAnswer) throws {
    let stage = try Stage()
    stage.server.answer = .ok(document([partner], sequence: 5, hint: 30))
    try stage.startSPIFFE()
    stage.run(.seconds(2))
    #expect(stage.published.count == 1)
    let (answer, said) = wrong.content
    stage.server.answer = answer
    stage.run(.seconds(120))
    #expect(stage.published.count == 1)
    #expect(stage.troubles.count == 1, "told once: \(stage.troubles)")
    #expect(stage.troubles.first?.description.contains(said) == true, "\(stage.troubles)")
    stage.server.answer = .ok(document([successor, partner], sequence: 6, hint: 30))
    stage.run(.seconds(60))
    #expect(stage.published.last?.sequence == 6)
  }

  @Test func aSlowServerIsWaitedForUpToTwentySeconds() throws {
    let stage = try Stage()
    let body = document([partner], hint: 600)
    let head = Array("HTTP/1.1 200 OK\r\nContent-Length: \(body.count)\r\n\r\n".utf8)
    func pieces(_ count: Int) -> [[UInt8]] {
      let all = head + body
      let size = (all.count + count - 1) / count
      return stride(from: 0, to: all.count, by: size).map { Array(all[$0..<min($0 + size, all.count)]) }
    }
    stage.server.answer = .slowly(pieces(30), pause: .seconds(1))
    try stage.startSPIFFE()
    stage.run(.seconds(20))
    #expect(stage.published.isEmpty)
    stage.run(.seconds(1))
    #expect(stage.troubles.first?.description.contains("no answer within 20 s") == true)
    stage.server.answer = .slowly(pieces(15), pause: .seconds(1))
    stage.run(.seconds(40))
    #expect(stage.published.map(\.anchors) == [[partner.certificate]])
  }

  @Test func aRedirectionIsFollowedUnderTheSameDemands() throws {
    let stage = try Stage()
    stage.server.answers["/bundle"] = .status(
      "307 Temporary Redirect", "Location: https://bundles.partner.org:8443/there\r\n")
    stage.server.answers["/there"] = .ok(document([partner], hint: 10))
    try stage.startSPIFFE()
    stage.run(.seconds(12))
    #expect(stage.published.count >= 1)
    // The configured place is asked again each time.
    let paths = stage.server.requests.map { $0.head.split(separator: " ")[1] }
    #expect(paths.prefix(3) == ["/bundle", "/there", "/bundle"])
  }

  @Test func aSequenceThatStepsBackIsNotBelieved() throws {
    let stage = try Stage()
    stage.server.answer = .ok(document([partner, successor], sequence: 7, hint: 10))
    try stage.startSPIFFE()
    stage.run(.seconds(2))
    stage.server.answer = .ok(document([partner], sequence: 6, hint: 10))
    stage.run(.seconds(30))
    #expect(stage.published.count == 1)
    #expect(stage.troubles == [.stepsBack(try domain("partner.org"), from: 7, to: 6)])
  }

  /// What an earlier process fetched counts for the sequence and for verifying; the endpoint is asked soon.
  @Test func whatWasKeptIsWhereItBegins() throws {
    let stage = try Stage()
    stage.server.stop()
    let kept = try Trust.Bundle(
      trustDomain: try domain("partner.org"), anchors: [partner.certificate], sequence: 7,
      refreshHint: .seconds(3600))
    try stage.startSPIFFE(kept: kept)
    stage.run(.seconds(30))
    #expect(stage.troubles.count == 1 && stage.published.isEmpty)
    stage.server.answer = .ok(document([partner], sequence: 6))
    try stage.server.listen()
    stage.run(.seconds(70))
    #expect(stage.published.isEmpty, "older than what was kept")
    stage.server.answer = .ok(document([partner], sequence: 8))
    stage.run(.seconds(70))
    #expect(stage.published.map(\.sequence) == [8])
  }

  @Test func stoppedIsStopped() throws {
    let stage = try Stage()
    stage.server.answer = .ok(document([partner], hint: 10))
    try stage.startSPIFFE()
    stage.run(.seconds(2))
    stage.client?.stop()
    stage.run(.seconds(100))
    #expect(stage.server.requests.count == 1)
  }
}
