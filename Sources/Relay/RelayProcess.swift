// The process behind `meshrelay serve` and `meshrelay connect`: opens the sockets, starts the threads, and ends
// them in order. Everything a relay does is in `Tier`; this file only gives it threads, signals and a journal.
//
//   main thread   control loop          serve-N   one loop each          workers, admin   their own threads

import Admin
import AdminServer
import CLinux
import Dispatch
import Downstream
import Foundation
import Glibc
import Logging
import Metrics
import Primitives
public import Ring
import Synchronization
import TLS
import Tier
import Trail

public final class RelayProcess {
  /// Exit codes (the command line's contract).
  public enum Exit {
    public static let fine: Int32 = 0
    public static let problems: Int32 = 1
    public static let unusableConfiguration: Int32 = 78
  }

  private let plan: ProcessPlan
  private let version: String
  private let io: DriverKind?
  private let logger: Logger
  private let notifier = SystemdNotifier()
  private let crew: Crew
  /// Nil: no audit is kept.
  private let trail: TrailWriter?
  private let loop: EventLoop
  private var control: ControlLoop?
  private var admin: AdminInterface?
  private var signals: SignalWatch?
  private var reloads: Mailbox<ReloadedFiles>
  private var pulse: Pulse?

  /// Runs a relay of any tier until SIGTERM or SIGINT; returns the exit code. Problems go to standard error.
  public static func serve(configPath: String, io: DriverKind?, version: String) -> Int32 {
    start(io, version) { () throws(Unusable) in try ProcessPlan(serving: configPath) }
  }

  /// Runs the companion beside istiod, as `serve` runs a relay.
  public static func connect(configPath: String, io: DriverKind?, version: String) -> Int32 {
    start(io, version) { () throws(Unusable) in try ProcessPlan(connecting: configPath) }
  }

  private static func start(
    _ io: DriverKind?, _ version: String, _ read: () throws(Unusable) -> ProcessPlan
  ) -> Int32 {
    // Before any key is read: no core dump, and nobody of the same user may look into this process.
    let isUndumpable = linux_set_dumpable(0) == 0
    keepMemory()
    let plan: ProcessPlan
    do throws(Unusable) { plan = try read() } catch { return refuse(error.problems) }
    // Before there are threads and keys. Its size cannot change later.
    let heap = SecureHeap.prepare(connections: plan.tier.limits.clients)
    SignalWatch.block()
    do throws(RelayError) {
      let process = try RelayProcess(plan, io: io, version: version)
      if !isUndumpable {
        process.logger.warning(
          "the kernel does not let this process be undumpable: a core dump would hold keys")
      }
      if heap != .locked {
        process.logger.warning(
          "the kernel does not let keys be locked in memory: they may be written to swap",
          metadata: ["fix": "set LimitMEMLOCK=infinity in the unit, or raise ulimit -l"])
      }
      return try process.run()
    } catch {
      return refuse([error.description])
    }
  }

  /// A push to a thousand clients takes and frees some megabytes. By default they go back to the kernel each time, and
  /// come again page by page.
  private static func keepMemory() {
    _ = linux_keep_memory(32 * 1024 * 1024, 4 * 1024 * 1024)
  }

  private static func refuse(_ problems: [String]) -> Int32 {
    for problem in problems { FileHandle.standardError.write(Data((problem + "\n").utf8)) }
    return Exit.unusableConfiguration
  }

  private init(_ plan: ProcessPlan, io: DriverKind?, version: String) throws(RelayError) {
    self.plan = plan
    self.io = io
    self.version = version
    let trail = try plan.tier.audit.map { settings throws(RelayError) in
      try TrailFile.taken(settings)
    }
    crew = Crew(limits: plan.tier.limits)
    logger = crew.logger
    self.trail = trail.map { [crew] file in
      TrailWriter(
        file.settings, storage: file, loops: plan.loops, laneBytes: plan.tier.limits.auditBytes,
        worker: crew.audit,
        mirror: crew.mirror.map { mirror in { @Sendable in mirror.take($0) } })
    }
    if plan.tier.audit?.isMirrored == true, crew.mirror == nil {
      logger.warning("audit.journal is all, but there is no journal here: the log file alone has everything")
    }
    do throws(RingError) {
      loop = EventLoop(driver: try makeDriver(io))
    } catch {
      throw .ring(error)
    }
    reloads = Mailbox(capacity: 8, wake: loop.waker)
  }

  private func run() throws(RelayError) -> Int32 {
    if let reason = loop.fallbackReason {
      logger.warning(
        "io_uring cannot be used; epoll serves instead", metadata: ["reason": "\(reason)"])
    }
    let crossings = ServeCrossings(
      limits: plan.tier.limits, minimumTLS: plan.tier.minimumTLS, wakeControl: loop.waker)
    let shards = (0..<plan.loops).map { _ in MetricShard() }
    let threads = try ServeThreads(
      plan, io: io, crossings: crossings, shards: shards, trail: trail,
      resolver: crew.workers.resolver)
    let control = ControlLoop(
      plan: plan.tier, rules: plan.rules, files: plan.files, loop: loop, workers: crew.workers,
      crossings: crossings, serving: threads.handles, instance: UUID().uuidString.lowercased(),
      version: version, shards: shards, seed: UInt64.random(in: .min ... .max), trail: trail,
      report: { [crew] in crew.log($0) })
    self.control = control
    signals = SignalWatch(on: loop) { [weak self] in self?.signalled($0) }
    loop.onWake = { [weak self] in self?.wake() }
    control.start()
    do throws(AdminServerError) {
      admin = try AdminInterface(at: plan.admin, respond: control.ask)
    } catch {
      threads.stop()
      crew.stop()
      return RelayProcess.refuse([error.description])
    }
    for note in admin?.notes ?? [] { logger.warning("\(note)") }
    pulse = Pulse(on: loop, control: control, notifier: notifier)
    logger.notice(
      "serving",
      metadata: [
        "event": "start", "node": "\(plan.tier.node)", "io": "\(loop.kind.rawValue)",
        "loops": "\(threads.handles.count)",
        "listen": "\(threads.addresses.map(\.description).joined(separator: " "))",
        "version": "\(version)",
      ])
    notifier.ready("serving")
    loop.run()
    threads.stop()
    admin?.stop()
    logger.notice("stopped", metadata: ["event": "stop"])
    control.audit.stop(reason: "asked to")
    crew.stop()
    trail?.release()
    return Exit.fine
  }

  private func wake() {
    control?.pickUp()
    for files in reloads.drain() {
      if let clients = files.plan?.limits.clients, clients > SecureHeap.connectionsMost {
        logger.warning(
          "limits.clients is more than there is locked memory for since the start: connections beyond that will fail",
          metadata: [
            "clients": "\(clients)", "room": "\(SecureHeap.connectionsMost)", "fix": "restart meshrelay",
          ])
      }
      control?.reload(files)
      notifier.ready("serving")
    }
  }

  // MARK: signals

  private func signalled(_ signal: Int32) {
    switch signal {
    case SIGHUP: reload()
    case SIGTERM, SIGINT: drain()
    default: break
    }
  }

  private func reload() {
    notifier.reloading(at: loop.now)
    let (reloads, reread) = (reloads, plan.reread)
    let accepted = crew.workers.identity.submit { reloads.push(reread()) }
    if !accepted {
      logger.error("reload skipped: the worker that reads files is busy")
      notifier.ready("serving")
    }
  }

  private func drain() {
    logger.notice("draining", metadata: ["within": "\(control?.drainTime ?? plan.tier.limits.drain)"])
    notifier.stopping()
    control?.drain { [loop] in loop.stop() }
  }
}

extension TrailFile {
  /// The log, held by this process. What else is wrong with it is told and tried again while the relay runs.
  fileprivate static func taken(_ settings: TrailSettings) throws(RelayError) -> TrailFile {
    var file = TrailFile(settings)
    do throws(TrailError) {
      try file.takeLock()
    } catch .locked(let path) {
      throw .audit(.locked(path: path))
    } catch {
      return file
    }
    return file
  }
}
