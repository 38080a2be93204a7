// `meshrelay doctor`: examines this host as the relay of a configuration would find it, one probe after the other,
// and says of each what it found and what mends it.
//
//   host ─► configuration ─► policy, sources ─► identity ─► trust ─► reachability ─► folders, running relay, istiod
//
// A probe that fails keeps no other from being made, unless that other needs what it would have found. Nothing is
// changed: no file, no running relay; upstreams see a handshake and no request. Prints no secret.

import CLinux
import Configuration
import Documents
import Trust

public struct DoctorCommand: Sendable {
  private let configPath: String
  private let json: Bool
  /// `$SPIFFE_ENDPOINT_SOCKET`.
  private let workloadAPI: String?

  public init(configPath: String, json: Bool, workloadAPI: String?) {
    self.configPath = configPath
    self.json = json
    self.workloadAPI = workloadAPI
  }

  /// Returns the exit code: 0 nothing is wrong (there may be warnings), 1 problems.
  public func run() -> Int32 {
    // A key is read on the way: no core dump has it.
    _ = linux_set_dumpable(0)
    let findings = examine()
    printText(json ? findings.json + "\n" : findings.text)
    return findings.isSound ? 0 : 1
  }

  private func examine() -> [DoctorFinding] {
    var findings = HostProbes.all()
    let loaded = ConfigurationFile.load(path: configPath)
    findings += loaded.problems.map { problem in
      DoctorFinding(
        probe: .configuration, level: problem.severity == .error ? .problem : .warning,
        text: "\(problem.position): \(problem.what)" + (problem.why.isEmpty ? "" : ", \(problem.why)"),
        fix: problem.howToFix.isEmpty ? "edit \(configPath), then: meshrelay check" : problem.howToFix)
    }
    guard let file = loaded.configuration else {
      findings.append(
        .problem(
          .configuration, "without a configuration nothing further can be examined",
          fix: "meshrelay check --config \(configPath)"))
      return findings
    }
    let subject = DoctorSubject(file)
    if loaded.problems.isEmpty { findings.append(.ok(.configuration, "\(configPath) is sound")) }
    let (rules, policy) = PolicyProbe.examine(file)
    findings += policy
    findings += SourcesProbe.examine(file)
    let identity = IdentityProbe(subject, workloadAPI: workloadAPI).examine()
    findings += identity.findings
    let trust = TrustProbe(subject, rules: rules, credentials: identity.credentials).examine()
    findings += trust.findings
    let credentials = identity.credentials.map {
      Credentials(svid: $0.svid, bundles: trust.bundles, generation: 1)
    }
    findings += ReachabilityProbe(subject, credentials: credentials).examine()
    let running = RunningProbe(subject).examine()
    findings += FolderProbe.examine(subject)
    if !running.isRunning { findings += ListeningProbe.examine(subject) }
    findings += running.findings
    return findings
  }
}
