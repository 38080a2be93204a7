// What one process is to run, whichever command asked for it: made from the files of `serve` or of `connect`,
// and made again from them at a reload.

import Admin
import Configuration
import Documents
import Policy
import Tier

struct ProcessPlan: Sendable {
  let tier: TierPlan
  let rules: PolicyRules
  let listen: [ListenSettings]
  /// Serve loops, at least one.
  let loops: Int
  let admin: [AdminAddress]
  /// Reads the files again as a start would. Blocks.
  let reread: @Sendable () -> ReloadedFiles
}

/// Files that no process can be made from.
struct Unusable: Error {
  /// One line each.
  let problems: [String]

  init(_ problems: [Problem]) { self.problems = problems.map(\.description) }
}

extension ProcessPlan {
  /// A relay of any tier.
  init(serving path: String) throws(Unusable) {
    let loaded = RelayConfiguration.load(path: path)
    guard let configuration = loaded.configuration else { throw Unusable(loaded.problems) }
    let policy = PolicyRules.load(path: configuration.policyPath)
    guard let rules = policy.rules else { throw Unusable(policy.problems) }
    let tier: TierPlan
    do throws(Problem) { tier = try TierPlan(configuration, host: .here) } catch { throw Unusable([error]) }
    self.init(
      tier: tier, rules: rules, listen: configuration.listen,
      loops: configuration.serveLoops, admin: configuration.admin.map(AdminAddress.init),
      reread: { ReloadedFiles(serving: path, running: configuration) })
  }

  /// The companion beside istiod: one loop for one client.
  init(connecting path: String) throws(Unusable) {
    let loaded = CompanionConfiguration.load(path: path)
    guard let configuration = loaded.configuration else { throw Unusable(loaded.problems) }
    let tier: TierPlan
    do throws(Problem) { tier = try TierPlan(configuration, host: .here) } catch { throw Unusable([error]) }
    self.init(
      tier: tier, rules: PolicyRules(configuration),
      listen: [.address(configuration.listen)], loops: 1, admin: [.unix(path: configuration.admin)],
      reread: { ReloadedFiles(connecting: path, running: configuration) })
  }
}

extension ReloadedFiles {
  fileprivate init(serving path: String, running: RelayConfiguration) {
    let loaded = RelayConfiguration.load(path: path)
    guard let configuration = loaded.configuration else {
      self.init(plan: nil, configProblems: loaded.problems.map(\.description))
      return
    }
    let plan: TierPlan
    do throws(Problem) { plan = try TierPlan(configuration, host: .here) } catch {
      self.init(plan: nil, configProblems: [error.description])
      return
    }
    let policy = PolicyRules.load(path: configuration.policyPath)
    self.init(
      plan: plan,
      needsRestart: configuration.keysThatNeedRestart(since: running), rules: policy.rules,
      policyProblems: policy.rules == nil ? policy.problems.map(\.description) : [])
  }

  fileprivate init(connecting path: String, running: CompanionConfiguration) {
    let loaded = CompanionConfiguration.load(path: path)
    guard let configuration = loaded.configuration else {
      self.init(plan: nil, configProblems: loaded.problems.map(\.description))
      return
    }
    do throws(Problem) {
      self.init(
        plan: try TierPlan(configuration, host: .here),
        needsRestart: configuration.keysThatNeedRestart(since: running), rules: PolicyRules(configuration))
    } catch {
      self.init(plan: nil, configProblems: [error.description])
    }
  }
}
