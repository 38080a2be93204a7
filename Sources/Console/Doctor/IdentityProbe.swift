// Who this host is: SVID, key and bundles where the configuration says they are, proved usable as the relay proves
// them, and how long they last.

import Configuration
import Identity
import Primitives
import Ring
import SPIFFE
import Trust

struct IdentityProbe {
  private let subject: DoctorSubject
  private let workloadAPI: String?
  private let now = wallClock()

  init(_ subject: DoctorSubject, workloadAPI: String?) {
    self.subject = subject
    self.workloadAPI = workloadAPI
  }

  func examine() -> (credentials: Credentials?, findings: [DoctorFinding]) {
    let bundles = subject.identity.bundles.map { ($0.trustDomain, $0.path) }
    switch subject.identity.source {
    case .files(let svid, let key):
      guard let key = key.path(credentialsFolder: nil) else {
        return (
          nil,
          [
            .warning(
              .identity, "the key is a systemd credential, which only the service can read",
              fix: "meshrelay status shows what the running relay found")
          ]
        )
      }
      return examine(FileIdentity(svid: svid, key: key, bundles: bundles))
    case .workloadAPI(let address, let choice):
      return ask(address?.socketLiteral ?? workloadAPI, choice, BundleFiles(bundles))
    }
  }

  // MARK: files

  private func examine(_ files: FileIdentity) -> (credentials: Credentials?, findings: [DoctorFinding]) {
    var findings = files.warnings().map { warning -> DoctorFinding in
      switch warning {
      case .keyReadableByOthers(let path, let mode):
        .problem(
          .identity,
          "\(path) holds a private key and can be read by every user (mode \(String(mode, radix: 8)))",
          fix: "chmod 0640 \(path)")
      }
    }
    do throws(IdentityError) {
      let contents = try files.read(at: now)
      findings += contents.faults.sorted { $0.key < $1.key }.map { .of($0.value, .trust) }
      let credentials = Credentials(svid: contents.svid, bundles: contents.bundles, generation: 1)
      return (credentials, findings + life(of: credentials, renew: "renew \(files.svidPath)"))
    } catch {
      return (nil, findings + [.of(error, .identity, fix: "ls -l \(files.svidPath) \(files.keyPath)")])
    }
  }

  // MARK: the agent

  private func ask(
    _ text: String?, _ choice: IdentitySettings.SVIDChoice?, _ bundles: BundleFiles
  ) -> (credentials: Credentials?, findings: [DoctorFinding]) {
    guard let text else {
      return (
        nil,
        [
          .problem(
            .identity, "identity names neither files nor workloadAPI, and $SPIFFE_ENDPOINT_SOCKET is not set",
            fix: "add workloadAPI: unix:///run/spire/agent/public/api.sock to identity in \(subject.file)")
        ]
      )
    }
    // The environment's form differs from a socket's in one word.
    let literal = text.hasPrefix("tcp://") ? String(text.dropFirst("tcp://".count)) : text
    guard let endpoint = SocketAddress(literal: literal) else {
      return (
        nil,
        [
          .problem(
            .identity, "the address '\(text)' of the Workload API is neither unix:///path nor tcp://IP:PORT",
            fix: "correct identity.workloadAPI, or $SPIFFE_ENDPOINT_SOCKET")
        ]
      )
    }
    do throws(WorkloadFetch.Failure) {
      let credentials = try WorkloadFetch(endpoint, choice.map(SVIDChoice.init), bundles).run()
      return (credentials, life(of: credentials, renew: "systemctl status spire-agent"))
    } catch {
      return (nil, [.problem(.identity, error.what, fix: error.fix)])
    }
  }

  // MARK: how long it lasts

  private func life(of credentials: Credentials, renew: String) -> [DoctorFinding] {
    IdentityProbe.life(of: credentials, goal: subject.identity.offlineGoal, renew: renew, at: now)
  }

  /// - Parameter renew: what renews the SVID.
  static func life(of credentials: Credentials, goal: Duration?, renew: String, at now: Timestamp)
    -> [DoctorFinding]
  {
    let svid = credentials.svid
    let left = svid.notAfter.milliseconds - now.milliseconds
    let life = svid.notAfter.milliseconds - svid.notBefore.milliseconds
    let lasts = "\(svid.id) until \(svid.notAfter.rfc3339), \(words(left)) from now"
    // Agents renew at half of it.
    let findings: [DoctorFinding] =
      life > 0 && left < life / 10
      ? [.problem(.identity, lasts + ": it has used 90 % of its life and was not renewed", fix: renew)]
      : life > 0 && left < life / 4
        ? [.warning(.identity, lasts + ": it has used 75 % of its life and was not renewed", fix: renew)]
        : [.ok(.identity, lasts)]
    let ends = [svid.notAfter, credentials.bundles[svid.id.trustDomain]?.notAfter].compactMap { $0 }
    guard let goal, let end = ends.min(), end.milliseconds - now.milliseconds < goal.milliseconds else {
      return findings
    }
    return findings + [
      .warning(
        .identity,
        "alone this host would last until \(end.rfc3339) only, which is less than the offline goal of "
          + words(goal.milliseconds),
        fix: "issue SVIDs and authorities that live longer, or lower identity.offlineGoal")
    ]
  }

  private static func words(_ milliseconds: Int64) -> String {
    let minutes = max(0, milliseconds / 60_000)
    return minutes >= 48 * 60
      ? "\(minutes / 1440) days" : minutes >= 120 ? "\(minutes / 60) hours" : "\(minutes) minutes"
  }
}

extension Duration {
  fileprivate var milliseconds: Int64 { components.seconds &* 1000 }
}
