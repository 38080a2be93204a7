// Goal: what the control loop promises operators: ready only when complete and identified, the last good policy
// after a bad reload, a good one in force at once, rejections in status while they last, and an end to draining.
// Method: a relay without serve loops on a simulated host, with a folder of manifests and workers inline.

import Admin
import Downstream
import Foundation
import Gates
import Policy
import Primitives
import Ring
import SPIFFE
import Snapshots
import Synchronization
import TestCertificates
import Testing
import Trail
import Transport
import Trust
import XDS

@testable import Tier

/// One origin without listeners.
final class Origin {
  static let authority = TestAuthority("example.org")
  let network = SimulatedNetwork(seed: 9, start: Timestamp(seconds: TestAuthority.epoch))
  let folder = FileManager.default.temporaryDirectory.appending(path: "tier-\(UUID().uuidString)")
  let crossings: ServeCrossings
  let plan: TierPlan
  let control: ControlLoop
  private let driver: SimulatedDriver

  /// `upstream`: an address that it follows, in place of its folder; nobody answers there.
  init(
    _ policy: String, upstream: String? = nil, state: String? = nil, trail: TrailWriter? = nil,
    files: FilesInForce = FilesInForce(), workers: Workers = .inline,
    report: @escaping (TierEvent) -> Void = { _ in }
  ) throws {
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    driver = SimulatedDriver(network: network, host: "origin")
    let loop = EventLoop(driver: driver)
    crossings = ServeCrossings(limits: Limits(), wakeControl: loop.waker)
    let issued = Origin.authority.issue("spiffe://example.org/origin")
    let domain = try TrustDomain("example.org")
    let credentials = Credentials(
      svid: try X509SVID(derChain: issued.chain.flatMap { $0 }, derKey: issued.secret),
      bundles: [domain: try Bundle(trustDomain: domain, anchors: [Origin.authority.certificate])],
      generation: 1)
    let source = try upstream.map { address in
      SourcePlan(
        name: "up",
        kind: .upstream(
          UpstreamPlan(
            endpoints: [Endpoint(host: address, port: 15010)],
            peer: try SPIFFEPattern(parsing: "spiffe://example.org/origin"), dialect: .delta,
            types: GlobList([GlobPattern("*/*")]))))
    }
    let local = SourcePlan(name: "local", kind: .directory(path: folder.path(percentEncoded: false)))
    var plan = TierPlan(
      node: upstream == nil ? "origin" : "edge", origin: "mesh", identity: .fixed(credentials),
      sources: [source ?? local])
    plan.state = state
    self.plan = plan
    control = ControlLoop(
      plan: plan, rules: try Origin.rules(policy), files: files, loop: loop, workers: workers,
      crossings: crossings, serving: [], instance: plan.node, version: "test", shards: [], seed: 1,
      trail: trail, report: report)
    loop.onWake = { [weak control] in control?.pickUp() }
  }

  deinit { try? FileManager.default.removeItem(at: folder) }

  static func rules(_ text: String) throws -> PolicyRules {
    let parsed = PolicyRules.parse(text, file: "policy.yaml")
    return try #require(parsed.rules, "\(parsed.problems)")
  }

  func write(_ name: String, _ text: String) throws {
    try text.write(to: folder.appending(path: name), atomically: true, encoding: .utf8)
    for descriptor in driver.watchedDescriptors { driver.makeReadable(descriptor) }
  }

  func settle() { network.run(for: .seconds(5)) }

  /// What the admin interface would answer now.
  func ask(_ request: AdminRequest) throws -> AdminReply {
    let answer = Published<AdminReply?>(nil)
    control.ask(request) { answer.publish($0) }
    network.run(for: .seconds(2))
    return try #require(answer.value)
  }

  func status() throws -> RelayStatus {
    try JSONDecoder().decode(RelayStatus.self, from: Data(try ask(.status).body))
  }

  /// Names that an identity sees.
  func seen(by id: String) -> Set<String> {
    guard let id = try? SPIFFEID(parsing: id), let view = crossings.generation.value?.view(for: id) else {
      return []
    }
    return Set(view.collections.values.flatMap(\.names))
  }
}

func gateway(_ namespace: String, _ name: String) -> String {
  """
  apiVersion: networking.istio.io/v1
  kind: Gateway
  metadata: {name: \(name), namespace: \(namespace)}
  spec: {selector: {istio: ingress}}

  """
}

private let wide = """
  clusters:
    - {name: a, identities: ["spiffe://example.org/a"], allow: [{namespaces: [foo, bar]}]}
  """
private let narrow = """
  clusters:
    - {name: a, identities: ["spiffe://example.org/a"], allow: [{namespaces: [foo]}]}
  """

@Suite(.serialized) struct ControlLoopTests {
  @Test func isReadyOnceItIsComplete() throws {
    let origin = try Origin(wide)
    #expect(try origin.ask(.readyz).status == 503)
    try origin.write("one.yaml", gateway("foo", "g"))
    origin.control.start()
    origin.settle()
    #expect(try origin.ask(.readyz).status == 200)
    let status = try origin.status()
    #expect(status.ready && status.sources.map(\.state) == [.synced] && status.snapshot?.resources == 1)
    #expect(origin.seen(by: "spiffe://example.org/a") == ["foo/g"])
    #expect(origin.seen(by: "spiffe://example.org/b").isEmpty)
  }

  @Test func aBadReloadChangesNothingAndIsTold() throws {
    let origin = try Origin(wide)
    try origin.write("one.yaml", gateway("bar", "g"))
    origin.control.start()
    origin.settle()
    origin.control.reload(ReloadedFiles(plan: origin.plan, policyProblems: ["policy.yaml:1:1: no"]))
    origin.settle()
    let status = try origin.status()
    #expect(status.policy.state == .refused && status.policy.error == "policy.yaml:1:1: no")
    #expect(status.policy.hash == (try Origin.rules(wide)).hash)
    #expect(origin.seen(by: "spiffe://example.org/a") == ["bar/g"])
  }

  @Test func warningsOfThePolicyInForceAreTold() throws {
    let told = Mutex<[TierEvent]>([])
    let files = FilesInForce(policyWarnings: ["policy.yaml:2:1: warning: at the start"])
    let origin = try Origin(wide, files: files) { event in told.withLock { $0.append(event) } }
    func warned() -> [String] {
      told.withLock { events in
        defer { events = [] }
        return events.flatMap(\.fields).filter { $0.name == "warning" }.map(\.value)
      }
    }
    origin.control.start()
    #expect(warned() == files.policyWarnings)
    #expect(try origin.status().policy.warnings == files.policyWarnings)
    // A refused file leaves what is said of the one in force.
    origin.control.reload(ReloadedFiles(plan: origin.plan, policyProblems: ["policy.yaml:1:1: no"]))
    #expect(warned().isEmpty)
    #expect(try origin.status().policy.warnings == files.policyWarnings)
    let many = (0..<120).map { "policy.yaml:\($0):1: warning: another" }
    origin.control.reload(
      ReloadedFiles(plan: origin.plan, rules: try Origin.rules(wide), policyWarnings: many))
    #expect(warned() == Array(many.prefix(20)))
    let status = try origin.status().policy
    #expect(status.warnings == Array(many.prefix(100)) && status.warningsTotal == 120)
    origin.control.reload(ReloadedFiles(plan: origin.plan, rules: try Origin.rules(wide)))
    #expect(warned().isEmpty)
    #expect(try origin.status().policy.warningsTotal == 0)
  }

  @Test func aNarrowedPolicyIsInForceAtOnce() throws {
    let origin = try Origin(wide)
    try origin.write("one.yaml", gateway("foo", "f") + "---\n" + gateway("bar", "b"))
    origin.control.start()
    origin.settle()
    #expect(origin.seen(by: "spiffe://example.org/a") == ["foo/f", "bar/b"])
    // Two reloads in one turn: the later one counts.
    origin.control.reload(ReloadedFiles(plan: origin.plan, rules: try Origin.rules(wide + "\n# again\n")))
    origin.control.reload(ReloadedFiles(plan: origin.plan, rules: try Origin.rules(narrow)))
    origin.network.run(for: .milliseconds(100))
    #expect(origin.seen(by: "spiffe://example.org/a") == ["foo/f"])
    #expect(try origin.status().policy.hash == (try Origin.rules(narrow)).hash)
  }

  @Test func whatIsSetAsideIsInStatusUntilItIsMended() throws {
    let origin = try Origin(wide)
    try origin.write("one.yaml", gateway("foo", "f"))
    try origin.write("bad.yaml", "kind: [")
    origin.control.start()
    origin.settle()
    var local = try #require(try origin.status().sources.first)
    #expect(local.rejectedTotal == 1 && local.rejected.first?.place.contains("bad.yaml") == true)
    #expect(local.resources == 1, "one bad file stops nothing else")
    try origin.write("bad.yaml", gateway("foo", "mended"))
    origin.settle()
    local = try #require(try origin.status().sources.first)
    #expect(local.rejectedTotal == 0 && local.resources == 2)
  }

  @Test func drainWithoutServeLoopsEndsAtOnce() throws {
    let origin = try Origin(wide)
    origin.control.start()
    origin.settle()
    var ended = 0
    origin.control.drain { ended += 1 }
    origin.control.drain { ended += 1 }
    origin.network.run(for: .seconds(30))
    #expect(ended == 1)
  }
}

@Suite struct RejectionMemoryTests {
  private let type = TypeName(group: "networking.istio.io", kind: "Gateway")

  private func update(_ bad: [String], removed: [String] = [], isWhole: Bool) -> SourceUpdate {
    SourceUpdate(
      source: "above", kind: .change(type, upserts: [], removals: removed),
      rejected: bad.map { Rejection(place: "here", resource: "\(type) \($0)", reason: "bad") },
      isWhole: isWhole)
  }

  @Test func sayingTheSameAgainAddsNothing() {
    var memory = RejectionMemory()
    for _ in 0..<3 { _ = memory.take(update(["foo/x"], isWhole: false)) }
    #expect(memory.all.map(\.resource) == ["\(type) foo/x"])
    let news = memory.take(update(["foo/x", "foo/y"], isWhole: false))
    #expect(news.map(\.resource) == ["\(type) foo/y"])
  }

  @Test func whatIsMendedOrGoneIsForgotten() {
    var memory = RejectionMemory()
    _ = memory.take(update(["foo/x", "foo/y"], isWhole: false))
    _ = memory.take(update([], removed: ["foo/x"], isWhole: false))
    #expect(memory.all.map(\.resource) == ["\(type) foo/y"])
    _ = memory.take(update([], isWhole: true))
    #expect(memory.all.isEmpty)
  }
}
