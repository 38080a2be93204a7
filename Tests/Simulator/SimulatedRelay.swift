// One relay host of the simulation: the production control loop and serve loops on simulated drivers, with
// workers inline. A crash drops everything it was; a restart is a new process with a new instance id.

import Audit
import Downstream
import Gates
import Metrics
import Policy
import Primitives
import Ring
import SPIFFE
import Snapshots
import TLS
import Tier
import Trail
import Transport
import Trust
import XDS

/// A host that runs a relay, through all its lives.
final class SimulatedRelay {
  /// Where every simulated relay listens.
  static let port: UInt16 = 15_010

  let host: String
  /// The cluster it belongs to at its upstreams.
  let cluster: String
  /// Empty for the origin, which reads the truth's folder.
  let upstreams: [String]
  let serveLoops: Int
  private let brake: Brake
  /// Its state folder, which outlives crashes, too.
  private let state: String
  private let disk = SimulatedDisk()
  private let credentials: Credentials
  private let network: SimulatedNetwork
  private let folder: String
  private let limits: Limits
  private let report: (SimulatedRelay, TierEvent) -> Void
  /// Every policy this host had in force, oldest first. It outlives crashes, as a file does.
  private(set) var grants: [Grants]
  /// Its audit log, which outlives crashes as well.
  let log = MemoryTrail()
  private(set) var life: Life?
  private(set) var lives = 0
  /// How this process asks its upstreams.
  private var dialect = ADSDialect.delta

  /// One process.
  final class Life {
    let instance: String
    let control: ControlLoop
    let serving: [ServeLoop]
    let drivers: [SimulatedDriver]
    let crossings: ServeCrossings
    private(set) var hasDrained = false

    init(
      instance: String, control: ControlLoop, serving: [ServeLoop], drivers: [SimulatedDriver],
      crossings: ServeCrossings
    ) {
      self.crossings = crossings
      self.instance = instance
      self.control = control
      self.serving = serving
      self.drivers = drivers
    }

    func drain() { control.drain { [weak self] in self?.hasDrained = true } }

    var counters: [LoopCounters] { [control.loop.counters] + serving.map(\.loop.counters) }
  }

  init(
    host: String, cluster: String, upstreams: [String], serveLoops: Int, grants: Grants, brake: Brake,
    network: SimulatedNetwork, folder: String, limits: Limits,
    report: @escaping (SimulatedRelay, TierEvent) -> Void
  ) {
    self.host = host
    self.cluster = cluster
    self.upstreams = upstreams
    self.serveLoops = serveLoops
    self.brake = brake
    self.grants = [grants]
    self.network = network
    self.folder = folder
    state = folder + ".state/" + host
    self.limits = limits
    self.report = report
    credentials = Identities.credentials(cluster, host)
  }

  var isUp: Bool { life != nil }

  var currentGrants: Grants { grants[grants.count - 1] }

  // MARK: life

  func start() {
    lives += 1
    dialect = Int.random(in: 0..<3, using: &network.generator) == 0 ? .stateOfTheWorld : .delta
    let controlDriver = SimulatedDriver(network: network, host: host)
    let controlLoop = EventLoop(driver: controlDriver)
    let crossings = ServeCrossings(limits: limits, wakeControl: controlLoop.waker)
    let shards = (0..<serveLoops).map { _ in MetricShard() }
    var drivers = [controlDriver]
    let settings = TrailSettings(path: "memory", onFailure: .stop)
    let trail = TrailWriter(
      settings, storage: log, loops: serveLoops, laneBytes: limits.auditBytes, worker: InlineWorker())
    var serving: [ServeLoop] = []
    var handles: [ServeHandle] = []
    for index in 0..<serveLoops {
      let driver = SimulatedDriver(network: network, host: host)
      let (loop, handle) = serve(index, driver, crossings, shards[index], trail.serving[index])
      drivers.append(driver)
      serving.append(loop)
      handles.append(handle)
    }
    let instance = "\(host)-\(lives)-\(String(network.generator.next(), radix: 16))"
    let control = ControlLoop(
      plan: plan, rules: currentGrants.rules, loop: controlLoop, workers: workers, crossings: crossings,
      serving: handles, instance: instance, version: "simulated", shards: shards,
      seed: network.generator.next(), trail: trail,
      report: { [weak self] event in if let self { report(self, event) } })
    controlLoop.onWake = { [weak control] in control?.pickUp() }
    life = Life(
      instance: instance, control: control, serving: serving, drivers: drivers, crossings: crossings)
    control.start()
    for loop in serving { loop.pickUp() }
  }

  private func serve(
    _ index: Int, _ driver: SimulatedDriver, _ crossings: ServeCrossings, _ shard: MetricShard,
    _ audit: AuditLane
  ) -> (ServeLoop, ServeHandle) {
    let loop = EventLoop(driver: driver)
    let serving = ServeLoop(
      index: index, loop: loop, resolver: InlineWorker(),
      crossings: crossings, metrics: shard, audit: audit, seed: network.generator.next())
    let commands = Mailbox<ServeCommand>(capacity: limits.workerMailbox, wake: loop.waker)
    loop.onWake = { [weak serving] in
      serving?.pickUp()
      for command in commands.drain() { serving?.handle(command) }
    }
    do throws(RingError) {
      try serving.listen(at: network.address(of: host, port: SimulatedRelay.port))
    } catch {
      preconditionFailure("a simulated relay cannot listen: \(error)")
    }
    return (serving, ServeHandle(commands: commands, wake: loop.waker))
  }

  private var workers: Workers {
    var workers = Workers.inline
    workers.store = disk
    return workers
  }

  private var plan: TierPlan {
    var source = SourcePlan(name: "truth", kind: .directory(path: folder))
    if !upstreams.isEmpty {
      let endpoints = upstreams.compactMap {
        Endpoint(network.address(of: $0, port: SimulatedRelay.port).description)
      }
      let types = SimulatedKind.allCases.map { GlobPattern("networking.istio.io/" + $0.rawValue) }
      source.name = "above"
      source.kind = .upstream(
        UpstreamPlan(
          endpoints: endpoints, peer: Identities.pattern("spiffe://\(Identities.trustDomain)/*"),
          dialect: dialect, types: GlobList(types)))
    }
    var plan = TierPlan(
      node: host, origin: "truth", identity: .fixed(credentials), sources: [source])
    plan.limits = limits
    plan.brake = brake
    plan.state = state
    return plan
  }

  func crash(_ manner: SimulatedCrash) {
    life = nil
    network.crash(host, manner)
    if Bool.random(using: &network.generator) { log.tear() }
  }

  /// While it is, nothing is read from the state folder nor written to it, and nothing is recorded.
  var isDiskBroken: Bool {
    get { disk.isBroken }
    set {
      disk.isBroken = newValue
      log.isFull = newValue
    }
  }

  /// Something else wrote into the state folder of a relay that is down. False when there is nothing yet.
  func damageState() -> Bool {
    disk.damage(state, &network.generator)
  }

  // MARK: what happens to it

  /// The folder changed: what a kernel would tell at once.
  func noticeFolder() {
    guard upstreams.isEmpty, let driver = life?.drivers.first else { return }
    for descriptor in driver.watchedDescriptors { driver.makeReadable(descriptor) }
  }

  /// A new policy file, and a reload if there is anybody to reload it.
  func adopt(_ next: Grants) {
    grants.append(next)
    life?.control.reload(ReloadedFiles(plan: plan, rules: next.rules))
  }
}
