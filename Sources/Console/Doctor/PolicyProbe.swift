// Policy and manifests, as `check` reads them: what does not hold, and how many hold.

import Configuration
import Documents
import Origins
import Policy
import Snapshots

enum PolicyProbe {
  /// The companion has none of its own.
  static func examine(_ file: ConfigurationFile) -> (rules: PolicyRules?, findings: [DoctorFinding]) {
    guard case .relay(let configuration) = file else { return (nil, []) }
    let loaded = PolicyRules.load(path: configuration.policyPath)
    var problems = loaded.problems
    if let rules = loaded.rules { problems += configuration.problems(with: rules) }
    var findings = Problem.sorted(problems).map { problem in
      DoctorFinding(
        probe: .policy, level: problem.severity == .error ? .problem : .warning,
        text: "\(problem.position): \(problem.what)" + (problem.why.isEmpty ? "" : ", \(problem.why)"),
        fix: problem.howToFix.isEmpty
          ? "edit \(problem.position.file), then: systemctl reload meshrelay" : problem.howToFix)
    }
    if let rules = loaded.rules {
      findings.append(
        rules.clusters.isEmpty
          ? .warning(
            .policy, "\(configuration.policyPath) has no cluster: nobody is served anything",
            fix: "add one to clusters")
          : .ok(
            .policy,
            "\(configuration.policyPath): \(rules.clusters.count) clusters, \(rules.expectationCount) expectations hold"
          ))
    }
    return (loaded.rules, findings)
  }
}

enum SourcesProbe {
  static func examine(_ file: ConfigurationFile) -> [DoctorFinding] {
    guard case .relay(let configuration) = file else { return [] }
    return configuration.sources.flatMap { source -> [DoctorFinding] in
      guard case .directory(let path) = source.kind else { return [] }
      let report = DirectoryReport.once(
        source: source.name, path: path, limits: configuration.limits, now: wallClock())
      if let fault = report.fault {
        return [.of(fault, .sources, fix: "ls -l \(path)")]
      }
      var findings = report.rejected.prefix(rejectionsMost).map { rejection in
        let subject = rejection.resource.isEmpty ? "" : rejection.resource + ": "
        return DoctorFinding.warning(
          .sources, "\(rejection.place): set aside: \(subject)\(rejection.reason)",
          fix: "edit it; all of them: meshrelay check --config \(configuration.file)")
      }
      let rest = report.rejected.count - findings.count
      if rest > 0 {
        findings.append(
          .warning(
            .sources, "\(path): \(rest) more are set aside",
            fix: "meshrelay check --config \(configuration.file)"))
      }
      findings.append(.ok(.sources, "\(path): \(report.resources) objects"))
      return findings
    }
  }

  /// Reason: `check` lists them all.
  private static let rejectionsMost = 5
}
