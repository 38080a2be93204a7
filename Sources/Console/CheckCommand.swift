// `meshrelay check`: reads what `serve` or `connect` would read, changes nothing, and prints every problem at once.

import Configuration
import Documents
import Origins
import Policy
import Primitives
import Snapshots

public struct CheckCommand: Sendable {
  public var configPath: String
  public var json: Bool

  public init(configPath: String, json: Bool) {
    self.configPath = configPath
    self.json = json
  }

  /// Returns the exit code: 0 sound, 1 problems.
  public func run() -> Int32 {
    let found = CheckFindings(configPath: configPath)
    printText(json ? found.json + "\n" : found.text)
    return found.isSound ? 0 : 1
  }
}

/// Everything `check` has to say.
private struct CheckFindings {
  private var findings: [Finding] = []
  private var summary: [String] = []

  init(configPath: String) {
    let loaded = ConfigurationFile.load(path: configPath)
    note(loaded.problems)
    guard let file = loaded.configuration else {
      goOn(besides: configPath)
      return
    }
    summary.append("\(configPath): sound")
    // The companion has no policy and no manifests of its own.
    guard case .relay(let configuration) = file else { return }
    if let rules = checkPolicy(configuration.policyPath) { note(configuration.problems(with: rules)) }
    if let shadow = configuration.shadowPath { _ = checkPolicy(shadow) }
    for source in configuration.sources {
      if case .directory(let path) = source.kind { checkManifests(source.name, path, configuration.limits) }
    }
  }

  /// A configuration with errors still says where the rest lies, and all problems are told at once.
  private mutating func goOn(besides configPath: String) {
    guard let text = try? TextFile.read(configPath) else { return }
    let paths = ConfigurationPaths(text, file: configPath)
    if let policy = paths.policy { _ = checkPolicy(policy) }
    for (source, path) in paths.directories { checkManifests(source, path, Limits()) }
  }

  var isSound: Bool { !findings.contains { $0.isError } }

  private mutating func note(_ problems: [Problem]) {
    findings += Problem.sorted(problems).map { Finding($0) }
  }

  private mutating func checkPolicy(_ path: String) -> PolicyRules? {
    let loaded = PolicyRules.load(path: path)
    note(loaded.problems)
    guard let rules = loaded.rules else { return nil }
    summary.append(
      "\(path): \(rules.clusters.count) clusters in \(rules.classes.count) classes, "
        + "\(rules.expectationCount) expectations hold")
    return rules
  }

  private mutating func checkManifests(_ source: String, _ path: String, _ limits: Limits) {
    let report = DirectoryReport.once(source: source, path: path, limits: limits, now: wallClock())
    if let fault = report.fault {
      findings.append(Finding(place: path, message: fault.description, isError: true))
    }
    for rejection in report.rejected {
      let subject = rejection.resource.isEmpty ? "" : rejection.resource + ": "
      findings.append(Finding(place: rejection.place, message: subject + rejection.reason, isError: true))
    }
    summary.append("\(path): \(report.resources) objects")
  }

  var text: String {
    (findings.map(\.text) + (isSound ? summary : [])).map { $0 + "\n" }.joined()
  }

  var json: String {
    var writer = JSONWriter()
    writer.object { object in
      object.field("sound", isSound)
      object.field(
        "problems",
        array: { array in for finding in findings { finding.write(to: &array) } })
    }
    return writer.text
  }
}
