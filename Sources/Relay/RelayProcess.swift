// The process behind `meshrelay serve`: reads the files, opens the sockets, starts the threads, and ends
// them in order. Everything a relay does is in `Tier`; this file only gives it threads, signals and a journal.
//
//   main thread   control loop          serve-N   one loop each          workers, admin   their own threads

import Configuration
import Admin
import AdminServer
import Dispatch
import Documents
import Downstream
import Foundation
import Glibc
import Logging
import Metrics
import Policy
import Primitives
public import Ring
import Synchronization
import Tier

public final class RelayProcess {
  /// Exit codes of `serve` (the command line's contract).
  public enum Exit {
    public static let fine: Int32 = 0
    public static let problems: Int32 = 1
    public static let unusableConfiguration: Int32 = 78
  }

  private let configuration: RelayConfiguration
  private let plan: TierPlan
  private let configPath: String
  private let version: String
  private let io: DriverKind?
  private let logger: Logger
  private let notifier = SystemdNotifier()
  private let crew: Crew
  private let loop: EventLoop
  private var control: ControlLoop?
  private var admin: AdminInterface?
  private var signals: SignalWatch?
  private var reloads: Mailbox<ReloadedFiles>
  private var pulse: Pulse?

  /// Runs until SIGTERM or SIGINT; returns the exit code. Problems go to standard error.
  public static func serve(configPath: String, io: DriverKind?, version: String) -> Int32 {
    let loaded = RelayConfiguration.load(path: configPath)
    guard let configuration = loaded.configuration else {
      return refuse(loaded.problems.map(\.description))
    }
    let policy = PolicyRules.load(path: configuration.policyPath)
    guard let rules = policy.rules else { return refuse(policy.problems.map(\.description)) }
    SignalWatch.block()
    do throws(RelayError) {
      let process = try RelayProcess(configuration, path: configPath, io: io, version: version)
      return try process.run(rules)
    } catch {
      return refuse([error.description])
    }
  }

  private static func refuse(_ problems: [String]) -> Int32 {
    for problem in problems { FileHandle.standardError.write(Data((problem + "\n").utf8)) }
    return Exit.unusableConfiguration
  }

  private init(
    _ configuration: RelayConfiguration, path: String, io: DriverKind?, version: String
  ) throws(RelayError) {
    self.configuration = configuration
    plan = TierPlan(configuration, host: .here)
    configPath = path
    self.io = io
    self.version = version
    crew = Crew(limits: configuration.limits)
    logger = crew.logger
    do throws(RingError) {
      loop = EventLoop(driver: try makeDriver(io))
    } catch {
      throw .ring(error)
    }
    reloads = Mailbox(capacity: 8, wake: loop.waker)
  }

  private func run(_ rules: PolicyRules) throws(RelayError) -> Int32 {
    if let reason = loop.fallbackReason { logger.warning(
        "io_uring cannot be used; epoll serves instead", metadata: ["reason": "\(reason)"]) }
    let crossings = ServeCrossings(limits: configuration.limits, wakeControl: loop.waker)
    let shards = (0..<configuration.serveLoops).map { _ in MetricShard() }
    let threads = try ServeThreads(configuration, plan, io: io, crossings: crossings, shards: shards)
    let control = ControlLoop(
      plan: plan, rules: rules, loop: loop, workers: crew.workers,
      crossings: crossings, serving: threads.handles, instance: UUID().uuidString.lowercased(),
      version: version, shards: shards, seed: UInt64.random(in: .min ... .max),
      report: { [crew] in crew.log($0) })
    self.control = control
    signals = SignalWatch(on: loop) { [weak self] in self?.signalled($0) }
    loop.onWake = { [weak self] in self?.wake() }
    control.start()
    do throws(AdminServerError) {
      admin = try AdminInterface(at: configuration.admin.map(AdminAddress.init), respond: control.ask)
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
        "node": "\(plan.node)", "io": "\(loop.kind.rawValue)",
        "loops": "\(threads.handles.count)",
        "listen": "\(threads.addresses.map(\.description).joined(separator: " "))",
        "version": "\(version)",
      ])
    notifier.ready("serving")
    loop.run()
    threads.stop()
    admin?.stop()
    logger.notice("stopped")
    crew.stop()
    return Exit.fine
  }

  private func wake() {
    control?.pickUp()
    for files in reloads.drain() {
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
    let (path, reloads, running) = (configPath, reloads, configuration)
    let accepted = crew.workers.identity.submit { reloads.push(ReloadedFiles(configPath: path, running: running)) }
    if !accepted {
      logger.error("reload skipped: the worker that reads files is busy")
      notifier.ready("serving")
    }
  }

  private func drain() {
    logger.notice("draining", metadata: ["within": "\(configuration.limits.drain)"])
    notifier.stopping()
    control?.drain { [loop] in loop.stop() }
  }
}

extension ReloadedFiles {
  /// Reads configuration and policy as a start would. Blocks.
  init(configPath: String, running: RelayConfiguration) {
    let loaded = RelayConfiguration.load(path: configPath)
    guard let configuration = loaded.configuration else {
      self.init(plan: nil, configProblems: loaded.problems.map(\.description))
      return
    }
    let policy = PolicyRules.load(path: configuration.policyPath)
    self.init(
      plan: TierPlan(configuration, host: .here),
      needsRestart: configuration.keysThatNeedRestart(since: running), rules: policy.rules,
      policyProblems: policy.rules == nil ? policy.problems.map(\.description) : [])
  }
}
