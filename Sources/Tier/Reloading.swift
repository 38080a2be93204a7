// Configuration and policy of a running relay: what a start found, what a reload brings, and what becomes of bad
// files. DESIGN.md §5: a bad file changes nothing and is told; the last good texts are kept for a start that finds
// bad ones. Reading the files is `Relay`'s; here they are values already.

import Admin
import Audit
import Downstream
public import Policy
import Primitives
import Ring
public import Store

/// Configuration and policy as a reload found them.
public struct ReloadedFiles: Sendable {
  public var plan: TierPlan?
  /// Keys whose change needs a restart.
  public var needsRestart: [String]
  /// Why it is nil.
  public var configProblems: [String]
  public var rules: PolicyRules?
  /// Why they are nil.
  public var policyProblems: [String]
  /// Of rules that are not nil.
  public var policyWarnings: [String]
  public var shadow: ShadowFile
  /// Of those that are good: for a start that finds bad ones.
  public var texts: [KeptRole: [KeptFile]]

  public init(
    plan: TierPlan?, configProblems: [String] = [], needsRestart: [String] = [], rules: PolicyRules? = nil,
    policyProblems: [String] = [], policyWarnings: [String] = [], shadow: ShadowFile = .none,
    texts: [KeptRole: [KeptFile]] = [:]
  ) {
    self.policyWarnings = policyWarnings
    self.shadow = shadow
    self.plan = plan
    self.needsRestart = needsRestart
    self.configProblems = configProblems
    self.rules = rules
    self.policyProblems = policyProblems
    self.texts = texts
  }
}

/// The texts a relay was started with, and why they are not those of now.
public struct FilesInForce: Sendable {
  public var texts: [KeptRole: [KeptFile]]
  /// The configuration file is bad now, and what runs is what was good last.
  public var configProblems: [String]
  public var policyProblems: [String]
  /// Of the policy that is in force.
  public var policyWarnings: [String]
  public var shadow: ShadowFile

  public init(
    texts: [KeptRole: [KeptFile]] = [:], configProblems: [String] = [], policyProblems: [String] = [],
    policyWarnings: [String] = [], shadow: ShadowFile = .none
  ) {
    self.policyWarnings = policyWarnings
    self.shadow = shadow
    self.texts = texts
    self.configProblems = configProblems
    self.policyProblems = policyProblems
  }
}

extension ControlLoop {
  /// Takes over what a reload read. What is nil was refused: the last good one stays.
  public func reload(_ files: ReloadedFiles) {
    adopt(files.plan, files.configProblems, needsRestart: files.needsRestart)
    // Without a configuration nobody knows where the policy is.
    if files.plan != nil { adopt(files.rules, files.policyProblems, warnings: files.policyWarnings) }
    grantDesk.follow(rules, sources: plan.sources.map(\.name))
    if files.plan != nil { adopt(files.shadow) }
    persistence?.keep(files.texts, now: loop.wallClock)
  }

  private func adopt(_ next: TierPlan?, _ problems: [String], needsRestart: [String]) {
    guard let next else {
      configStatus.state = .refused
      configStatus.error = problems.first
      return tell(.config, "configuration refused; the last good one stays in use", problems)
    }
    configStatus = ConfigStatus(
      state: .current, loadedAt: loop.wallClock,
      error: needsRestart.isEmpty
        ? nil : "needs a restart to take effect: " + needsRestart.joined(separator: ", "))
    if !needsRestart.isEmpty {
      report(
        TierEvent(
          .warning, "some changes need a restart", [.init("keys", needsRestart.joined(separator: ", "))]))
    }
    let previous = plan
    if previous.brake != next.brake { enqueue(.brake(next.brake)) }
    if previous.history != next.history {
      persistence?.follow(next.history)
      enqueue(.history(next.history))
    }
    plan = next
    crossings.sourceTrustDomains.publish(next.upstreamTrustDomains)
    crossings.terms.publish(ServeTerms(limits: next.limits, minimumTLS: next.minimumTLS))
    for handle in serving { handle.wake() }
    assignSinks()
    identity.follow(next)
    audit.follow(next.audit)
    if previous.sources != next.sources || previous.origin != next.origin {
      enqueue(.sources(SourceSet.mergeSources(next), SourceSet.truth(next)))
    }
    sources.replace(next, previous: previous)
    report(TierEvent(.notice, "configuration loaded").recording(AuditRecord(.config, reason: "loaded")))
  }

  private func adopt(_ next: PolicyRules?, _ problems: [String], warnings: [String]) {
    guard let next else {
      policyStatus.state = .refused
      policyStatus.error = problems.first
      return tell(.policy, "policy refused; the last good one stays in force", problems)
    }
    rules = next
    policyStatus = PolicyStatus(
      state: .current, loadedAt: loop.wallClock, hash: next.hash, warnings: warnings)
    report(
      TierEvent(.notice, "policy loaded", [.init("hash", next.hash)])
        .recording(AuditRecord(.policy, version: next.hash, reason: "loaded")))
    warn(ofPolicy: warnings)
    enqueue(.rules(next))
  }

  /// Takes over a shadow policy.
  func adopt(_ shadow: ShadowFile) {
    let (job, event) = shadowDesk.take(shadow, now: loop.wallClock)
    if let event { report(event) }
    if let job { enqueue(job) }
  }

  var shadowRules: PolicyRules? { shadowDesk.rules }

  /// What is in force and hardly means what was intended: nothing when there are no warnings.
  func warn(ofPolicy warnings: [String]) {
    guard !warnings.isEmpty else { return }
    report(
      TierEvent(
        .warning, "the policy is in force, and some of it hardly means what was intended",
        [.init("warnings", String(warnings.count))] + warnings.prefix(20).map { .init("warning", $0) }
      ).of(.policy))
  }

  /// Trouble with a file of the operator's: nothing when there are no problems.
  func tell(_ file: AuditRecord.Event, _ trouble: String, _ problems: [String]) {
    guard let first = problems.first else { return }
    report(
      TierEvent(.error, trouble, problems.prefix(20).map { .init("problem", $0) })
        .recording(AuditRecord(file, reason: "refused: " + first)))
  }
}

extension ConfigStatus {
  init(startedWith problems: [String], loadedAt: Timestamp) {
    self.init(state: problems.isEmpty ? .current : .lastGood, loadedAt: loadedAt, error: problems.first)
  }
}

extension PolicyStatus {
  init(startedWith files: FilesInForce, loadedAt: Timestamp, hash: String) {
    self.init(
      state: files.policyProblems.isEmpty ? .current : .lastGood, loadedAt: loadedAt, hash: hash,
      error: files.policyProblems.first, warnings: files.policyWarnings)
  }
}
