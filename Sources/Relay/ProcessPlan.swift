// What one process is to run, whichever command asked for it: made from the files of `serve` or of `connect`,
// and made again from them at a reload.

import Admin
import Configuration
import Documents
import Policy
import Primitives
import Store
import Tier

struct ProcessPlan: Sendable {
  let tier: TierPlan
  let rules: PolicyRules
  let listen: [ListenSettings]
  /// Serve loops, at least one.
  let loops: Int
  let admin: [AdminAddress]
  let files: FilesInForce
  /// Reads the files again as a start would. Blocks.
  let reread: @Sendable () -> ReloadedFiles
}

/// Files that no process can be made from.
struct Unusable: Error {
  /// One line each.
  let problems: [String]

  init(_ problems: [Problem]) { self.problems = problems.map(\.description) }

  /// What was kept of them could not be read either.
  init(_ problems: [Problem], lastGood error: StoreError) {
    self.problems =
      problems.map(\.description) + ["and the last good ones cannot be read: \(error.description)"]
  }
}

extension ProcessPlan {
  /// A relay of any tier.
  init(serving path: String) throws(Unusable) {
    let found = try Found.configuration(at: path, parse: RelayConfiguration.parse)
    let policy = try Found.policy(of: found.value)
    let configuration = found.value
    let tier: TierPlan
    do throws(Problem) { tier = try TierPlan(configuration, host: .here) } catch { throw Unusable([error]) }
    self.init(
      tier: tier, rules: policy.value, listen: configuration.listen,
      loops: configuration.serveLoops, admin: configuration.admin.map(AdminAddress.init),
      files: FilesInForce(
        configuration: found, policy: policy, shadow: ShadowFile(at: configuration.shadowPath)),
      reread: { ReloadedFiles(serving: path, running: configuration) })
  }

  /// The companion beside istiod: one loop for one client.
  init(connecting path: String) throws(Unusable) {
    let found = try Found.configuration(at: path, parse: CompanionConfiguration.parse)
    let configuration = found.value
    let tier: TierPlan
    do throws(Problem) { tier = try TierPlan(configuration, host: .here) } catch { throw Unusable([error]) }
    self.init(
      tier: tier, rules: PolicyRules(configuration),
      listen: [.address(configuration.listen)], loops: 1, admin: [.unix(path: configuration.admin)],
      files: FilesInForce(configuration: found, policy: nil),
      reread: { ReloadedFiles(connecting: path, running: configuration) })
  }
}

extension ReloadedFiles {
  fileprivate init(serving path: String, running: RelayConfiguration) {
    let loaded = ReloadedFiles.read(path, RelayConfiguration.parse)
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
      plan: plan, needsRestart: configuration.keysThatNeedRestart(since: running), rules: policy.rules,
      policyProblems: policy.rules == nil ? policy.problems.map(\.description) : [],
      policyWarnings: policy.rules.map { configuration.warnings($0, policy.problems).map(\.description) }
        ?? [],
      shadow: ShadowFile(at: configuration.shadowPath),
      texts: [.configuration: [loaded.text], .policy: policy.rules == nil ? [] : policy.texts].mapValues(
        \.kept))
  }

  fileprivate init(connecting path: String, running: CompanionConfiguration) {
    let loaded = ReloadedFiles.read(path, CompanionConfiguration.parse)
    guard let configuration = loaded.configuration else {
      self.init(plan: nil, configProblems: loaded.problems.map(\.description))
      return
    }
    do throws(Problem) {
      self.init(
        plan: try TierPlan(configuration, host: .here),
        needsRestart: configuration.keysThatNeedRestart(since: running), rules: PolicyRules(configuration),
        texts: [.configuration: [loaded.text].kept])
    } catch {
      self.init(plan: nil, configProblems: [error.description])
    }
  }

  private static func read<Value>(
    _ path: String, _ parse: ([UInt8], String) -> (configuration: Value?, problems: [Problem])
  ) -> (configuration: Value?, problems: [Problem], text: FileText) {
    do throws(Problem) {
      let text = FileText(path: path, bytes: try TextFile.read(path))
      let parsed = parse(text.bytes, path)
      return (parsed.configuration, parsed.problems, text)
    } catch {
      return (nil, [error], FileText(path: path, bytes: []))
    }
  }
}

extension FilesInForce {
  fileprivate init<Value>(
    configuration: Found<Value>, policy: Found<PolicyRules>?, shadow: ShadowFile = .none
  ) {
    self.init(
      texts: [.configuration: configuration.texts, .policy: policy?.texts ?? []].mapValues(\.kept),
      configProblems: configuration.problems.map(\.description),
      policyProblems: (policy?.problems ?? []).map(\.description),
      policyWarnings: (policy?.warnings ?? []).map(\.description), shadow: shadow)
  }
}

extension ShadowFile {
  /// Reads it. A bad one is no reason not to start: nothing of it is enforced.
  fileprivate init(at path: String?) {
    guard let path else {
      self = .none
      return
    }
    let loaded = PolicyRules.load(path: path)
    self = loaded.rules.map { .rules($0) } ?? .refused(loaded.problems.map(\.description))
  }
}

extension [FileText] {
  fileprivate var kept: [KeptFile] { map { KeptFile(path: $0.path, content: $0.bytes) } }
}
