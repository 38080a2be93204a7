// A whole mesh in one thread: an origin with a folder of manifests, two regions, two edges, their clients, and
// every checker listening. All is drawn from one seed; equal seeds give equal histories.
//
//   truth ─► origin ◄── region-1 ◄──┬── edge-1 ◄── clients of two tenants, and strangers
//                  ◄── region-2 ◄──┴── edge-2 ◄──
//
// or the same with two more tiers of two relays each (`Cast.deep`).
//
// A run: everybody starts, a storm of faults and changes, then calm. In the calm everybody must converge, and
// at the end every relay drains and must have closed what it opened.

import Gates
import Metrics
import Primitives
import Ring
import SPIFFE
import Snapshots
import Tier

/// The world of one seed.
public final class SimulatedWorld: ClientOwner {
  public let seed: UInt64
  private let brake: Brake
  let network: SimulatedNetwork
  let truth = Truth()
  private(set) var relays: [SimulatedRelay] = []
  private(set) var clients: [SimulatedClient] = []
  /// Broken promises, in order; a run ends with the first.
  public private(set) var findings: [String] = []
  /// What happened, with virtual times; the newest lines.
  public private(set) var journal: [String] = []
  /// Answers that clients got.
  public private(set) var answers = 0

  private var checkers: [any Checker] = [HiddenChecker(), WholenessChecker(), RefusalChecker()]
  var grantEnds = GrantEndChecker()
  private var ledger = SocketLedger()
  private var audit = AuditChecker()
  /// Audit records read; for the test that there were any.
  public var auditRecords: Int { audit.records }
  /// By client: how many policies its edge had had, and which of its lives it was in, when the stream was opened.
  private var openings: [String: (policies: Int, life: Int)] = [:]

  /// After the last fault, everybody has what is right. Reason: noticing silence (twice 15 s here), the longest
  /// back-off of a relay (36 s), a refused handshake or two, and some room.
  public static let convergenceBound: Duration = .seconds(150)
  /// The tiers between origin and edge.
  private let middle: [String]
  /// A tier more has to notice and to come back, too.
  var bound: Duration { SimulatedWorld.convergenceBound + .seconds(60) * (middle.count - 1) }
  private static let journalMost = 4000
  /// Steps within one moment of virtual time. Reason: the busiest moments of sound runs have some hundreds.
  private static let stepsMost = 20_000

  /// Who the clients are.
  public enum Cast: Sendable {
    /// Control planes of today.
    case modern
    /// One for every way to follow a type.
    case everyDialect
    /// Control planes of today, below five tiers.
    case deep
  }

  /// `braked`: every relay has a brake. Storms remove at random, and what is held back would never converge.
  public init(seed: UInt64, cast: Cast = .modern, braked: Bool = false) {
    self.seed = seed
    brake = braked ? Brake(removes: 30, atLeast: 3, most: 1000) : .off
    middle = cast == .deep ? ["region", "zone", "site"] : ["region"]
    network = SimulatedNetwork(seed: seed, start: Identities.start)
    truth.fill(&network.generator, at: network.wallClock)
    addRelays()
    addClients(cast)
    checkers.append(OrderChecker(tiers: ["origin"] + middle + ["edge"]))
  }

  private static var limits: Limits {
    var limits = Limits()
    // A storm is short: silence has to be noticed within it.
    limits.idle = .seconds(15)
    return limits
  }

  private func addRelays() {
    add("origin-1", "origin", [], loops: 1, .origin)
    var above = ["origin-1"]
    for (tier, next) in zip(middle, middle.dropFirst() + ["edge"]) {
      let hosts = ["\(tier)-1", "\(tier)-2"]
      for host in hosts { add(host, tier, above, loops: 2, .passing(to: next)) }
      above = hosts
    }
    add("edge-1", "edge", above, loops: 2, .usual)
    add("edge-2", "edge", above.reversed(), loops: 1, .usual)
  }

  private func add(_ host: String, _ cluster: String, _ upstreams: [String], loops: Int, _ grants: Grants) {
    relays.append(
      SimulatedRelay(
        host: host, cluster: cluster, upstreams: upstreams, serveLoops: loops, grants: grants,
        brake: brake, network: network, folder: truth.folder, limits: SimulatedWorld.limits,
        report: { [weak self] relay, event in self?.relay(relay, reported: event) }))
  }

  private typealias ClientPlan = (cluster: String, dialect: TalkDialect, edges: [String])

  private static let modern: [ClientPlan] = [
    ("tenant-a", .delta, ["edge-1"]), ("tenant-a", .stateOfTheWorld, ["edge-2", "edge-1"]),
    ("tenant-b", .delta, ["edge-1", "edge-2"]), ("tenant-b", .stateOfTheWorld, ["edge-1"]),
    ("tenant-b", .delta, ["edge-2"]), ("stranger", .delta, ["edge-1"]),
  ]

  /// The tenant whose grant is narrowed most has every dialect at one edge; the other one moves.
  private static let everyDialect: [ClientPlan] =
    TalkDialect.allCases.map { ("tenant-b", $0, ["edge-1"]) } + [
      ("tenant-a", .mcp, ["edge-2", "edge-1"]), ("tenant-a", .mcpIncremental, ["edge-1", "edge-2"]),
      ("tenant-a", .aggregatedIncremental, ["edge-2", "edge-1"]), ("stranger", .aggregated, ["edge-1"]),
    ]

  private func addClients(_ cast: Cast) {
    let plans = cast == .everyDialect ? SimulatedWorld.everyDialect : SimulatedWorld.modern
    for (index, plan) in plans.enumerated() {
      clients.append(
        SimulatedClient(
          host: "client-\(index + 1)", cluster: plan.cluster, dialect: plan.dialect, edges: plan.edges,
          manners: manners(), network: network, limits: SimulatedWorld.limits, owner: self))
    }
  }

  private func manners() -> SimulatedClient.Manners {
    var manners = SimulatedClient.Manners()
    switch Int.random(in: 0..<4, using: &network.generator) {
    case 0: manners.refusals = 0.2
    case 1: manners.slowness = .seconds(14)
    case 2: manners.slowness = .milliseconds(300)
    default: break
    }
    return manners
  }

  deinit {
    // Loops, connections and timers hold each other as long as their process lives.
    for relay in relays { relay.crash(.process) }
    for client in clients { network.crash(client.host) }
  }

  public var fingerprint: UInt64 { network.fingerprint }
  public var isSound: Bool { findings.isEmpty }

  func relay(_ host: String) -> SimulatedRelay {
    guard let relay = relays.first(where: { $0.host == host }) else {
      preconditionFailure("no simulated relay has this name: \(host)")
    }
    return relay
  }

  // MARK: a run

  /// The whole story; true when no promise was broken.
  public func run(storm length: Duration) -> Bool {
    begin()
    var storm = Storm(self)
    let end = network.now + length
    while network.now < end, isSound {
      pass(.milliseconds(Int64.random(in: 20...1500, using: &network.generator)))
      storm.strike()
    }
    storm.end()
    storm.endClocks()
    converge()
    drain()
    return isSound
  }

  func begin() {
    for relay in relays.shuffled(using: &network.generator) {
      let delay = Int64.random(in: 0...2000, using: &network.generator)
      network.at(.milliseconds(delay)) { [weak self] in self?.start(relay) }
    }
    for client in clients {
      let delay = Int64.random(in: 0...4000, using: &network.generator)
      network.at(.milliseconds(delay)) { [weak client] in client?.start() }
    }
  }

  func start(_ relay: SimulatedRelay) {
    guard !relay.isUp else { return }
    note("\(relay.host) starts")
    network.restart(relay.host)
    relay.start()
  }

  /// Lets virtual time pass; stops at the first finding.
  func pass(_ time: Duration) { pass(time) { false } }

  func pass(_ time: Duration, until condition: () -> Bool) {
    var (moment, steps) = (network.now, 0)
    network.run(atMost: time) {
      if network.now != moment { (moment, steps) = (network.now, 0) }
      steps += 1
      if steps == SimulatedWorld.stepsMost { found("time stands still: somebody is busy without end") }
      return !isSound || condition()
    }
  }

  private func converge() {
    guard isSound else { return }
    note("calm")
    for client in clients {
      client.manners = .kind
      // What it has refused is never offered again on the same stream.
      client.reconnect()
    }
    let grants = { [unowned self] host in relay(host).currentGrants }
    let deadline = network.now + bound
    var open = ["not looked at"]
    while isSound, !open.isEmpty, network.now < deadline {
      pass(.milliseconds(500))
      open = ConvergenceChecker.findings(clients, truth, grants)
    }
    for finding in open where isSound || !findings.isEmpty { found("no convergence: " + finding) }
    guard isSound else { return }
    // What has converged stays so.
    pass(.seconds(20))
    for finding in ConvergenceChecker.findings(clients, truth, grants) {
      found("convergence lost: " + finding)
    }
    for finding in ConvergenceChecker.disagreements(clients) { found(finding) }
    for finding in ViewChecker.findings(clients, edge: relay, origin: relay("origin-1")) { found(finding) }
  }

  private func drain() {
    guard isSound else { return }
    note("drain")
    for client in clients { client.retire() }
    let lives = relays.compactMap(\.life)
    for life in lives { life.drain() }
    pass(.seconds(20)) { lives.allSatisfy(\.hasDrained) }
    pass(.seconds(5))
    for life in lives {
      if !life.hasDrained { found("\(life.instance) did not drain") }
      for finding in ledger.findings(life) { found(finding) }
    }
    for relay in relays {
      for finding in audit.read(relay.host, relay.log) { found(finding) }
    }
  }

  // MARK: listening

  /// Its newest stream is with the process that `edge` runs now.
  func isServed(_ client: SimulatedClient, by edge: SimulatedRelay) -> Bool {
    client.edge == edge.host && edge.isUp && openings[client.host]?.life == edge.lives
  }

  func client(_ client: SimulatedClient, opened stream: Int) {
    let edge = relay(client.edge)
    openings[client.host] = (edge.grants.count - 1, edge.lives)
    note("\(client.host) opens stream \(stream) at \(client.edge)")
  }

  func client(_ client: SimulatedClient, received answer: Answer, isAccepted: Bool) {
    answers += 1
    let position = answer.controlPlane?.position
    note(
      "\(client.host) \(isAccepted ? "takes" : "refuses") \(answer.typeURL) +\(answer.upserts.count) "
        + "-\(answer.removed.count) nonce \(answer.nonce) sequence \(position?.sequence ?? 0)"
        + (answer.controlPlane?.removals.map { " because \($0.rawValue)" } ?? ""))
    let grants = relay(client.edge).grants.dropFirst(openings[client.host]?.policies ?? 0)
    let hearing = Hearing(
      client: client.host, cluster: client.cluster, dialect: client.dialect, stream: client.stream,
      edge: client.edge, answer: answer, isAccepted: isAccepted, grants: Array(grants), truth: truth)
    let edge = relay(client.edge)
    for finding in audit.hear(answer, client.id.description, at: edge.host, edge.log) { found(finding) }
    for index in checkers.indices {
      for finding in checkers[index].hear(hearing) { found(finding) }
    }
  }

  func client(_ client: SimulatedClient, cannotRead message: [UInt8]) {
    found("\(client.host) got \(message.count) bytes that are no answer")
  }

  func client(_ client: SimulatedClient, ended status: String) {
    note("\(client.host) loses its stream at \(client.edge): \(status)")
  }

  private func relay(_ relay: SimulatedRelay, reported event: TierEvent) {
    let fields = event.fields.map { "\($0.name)=\($0.value)" }.joined(separator: " ")
    note("\(relay.host): \(event.message) \(fields)")
    guard let instance = relay.life?.instance else { return }
    for finding in ledger.hear(event, of: instance) { found(finding) }
    if event.message == "client broke the protocol", !isRefuser(fields) {
      found("\(relay.host): \(event.message) \(fields)")
    }
  }

  /// Who refuses may be ended for it: when a grant has to be taken back and what would remain was refused.
  private func isRefuser(_ fields: String) -> Bool {
    clients.contains { $0.manners.refusals > 0 && fields.contains("/" + $0.host + " ") }
  }

  /// An operator takes something back: what clients get next may be older than what they have.
  func allowStepBack() {
    for index in checkers.indices where checkers[index] is WholenessChecker {
      checkers[index] = WholenessChecker()
    }
  }

  func note(_ text: String) {
    if journal.count >= SimulatedWorld.journalMost { journal.removeFirst(SimulatedWorld.journalMost / 2) }
    let milliseconds = network.now.nanoseconds / 1_000_000
    journal.append("\(milliseconds / 1000).\(String(milliseconds % 1000 + 1000).dropFirst())s \(text)")
  }

  func found(_ finding: String) {
    findings.append(finding)
    note("FOUND: " + finding)
  }
}
