// Which configuration and policy a start uses: what the files say now or, loudly, what they said when they were
// good last. DESIGN.md §5: kept in `state`, used by a start that finds bad ones.
//
// A host that reboots into a half-finished edit must go on serving what it served. Texts are kept, not values, so
// that a newer program judges them by its own rules. Must never make a store where there is none.

import Configuration
import Documents
import Glibc
import Policy
import Primitives
import Store
import Tier

/// The texts kept in one state folder.
struct LastGoodFiles {
  private let folder: String
  private let configPath: String

  /// `text`: the configuration as it is now, if it can be read at all; it says where the state is, errors or not.
  init(configPath: String, text: [UInt8]?) {
    self.configPath = configPath
    folder = text.flatMap { ConfigurationPaths($0, file: configPath).state } ?? HostFacts.stateFolder
  }

  init(configPath: String, state: String) {
    self.configPath = configPath
    folder = state
  }

  /// The text of this configuration file when it was good last; a file of another path is none.
  func configuration() throws(StoreError) -> [UInt8]? {
    try kept(.configuration)?.first { $0.path == configPath }?.content
  }

  func policy() throws(StoreError) -> [FileText]? {
    try kept(.policy)?.map { FileText(path: $0.path, bytes: $0.content) }
  }

  private func kept(_ role: KeptRole) throws(StoreError) -> [KeptFile]? {
    guard SnapshotStore.exists(in: folder) else { return nil }
    let store = SnapshotStore(folder: folder)
    defer { store.close() }
    var now = timespec()
    unsafe clock_gettime(CLOCK_REALTIME, &now)
    return try store.kept(role, now: Timestamp(seconds: Int64(now.tv_sec)))
  }
}

/// What a start found: a value to run with, its text, and why it is not the newest.
struct Found<Value> {
  let value: Value
  let texts: [FileText]
  /// Problems of the files as they are now; empty when they are in force.
  let problems: [Problem]
  /// Of what is in force.
  var warnings: [Problem] = []
}

extension Found {
  /// The configuration at `path`, or the one that was good last.
  static func configuration(
    at path: String, parse: ([UInt8], String) -> (configuration: Value?, problems: [Problem])
  ) throws(Unusable) -> Found {
    var (text, problems): ([UInt8]?, [Problem]) = (nil, [])
    do throws(Problem) { text = try TextFile.read(path) } catch { problems = [error] }
    if let text {
      let now = parse(text, path)
      if let value = now.configuration {
        return Found(value: value, texts: [FileText(path: path, bytes: text)], problems: [])
      }
      problems = now.problems
    }
    do throws(StoreError) {
      if let kept = try LastGoodFiles(configPath: path, text: text).configuration(),
        let value = parse(kept, path).configuration
      {
        return Found(value: value, texts: [FileText(path: path, bytes: kept)], problems: problems)
      }
    } catch {
      throw Unusable(problems, lastGood: error)
    }
    throw Unusable(problems)
  }
}

extension Found where Value == PolicyRules {
  /// The policy of `configuration`, or the one that was good last.
  static func policy(of configuration: RelayConfiguration) throws(Unusable) -> Found {
    let now = PolicyRules.load(path: configuration.policyPath)
    if let rules = now.rules {
      return Found(
        value: rules, texts: now.texts, problems: [],
        warnings: configuration.warnings(rules, now.problems))
    }
    let problems = now.problems
    guard let state = configuration.state else { throw Unusable(problems) }
    do throws(StoreError) {
      if let kept = try LastGoodFiles(configPath: configuration.file, state: state).policy(),
        case (let rules?, let found) = PolicyRules.parse(kept)
      {
        return Found(
          value: rules, texts: kept, problems: problems, warnings: configuration.warnings(rules, found))
      }
    } catch {
      throw Unusable(problems, lastGood: error)
    }
    throw Unusable(problems)
  }
}

extension RelayConfiguration {
  /// What `check` would warn of: of the policy, and of what it says of this configuration. `found`: with its text.
  func warnings(_ rules: PolicyRules, _ found: [Problem]) -> [Problem] {
    Problem.sorted((found + problems(with: rules)).filter { $0.severity == .warning })
  }
}
