// The relay that runs here with this configuration, if one does: what it says of itself, and whether its istiod is
// there. Where none runs: whether its addresses are free, and its folders ready.

import Admin
import Configuration
import FoundationEssentials
import Glibc
import Primitives
import Ring

struct RunningProbe {
  private let subject: DoctorSubject

  init(_ subject: DoctorSubject) { self.subject = subject }

  private var unit: String { subject.isCompanion ? "the companion" : "the relay" }

  func examine() -> (isRunning: Bool, findings: [DoctorFinding]) {
    guard let address = subject.admin else { return (false, []) }
    do throws(AdminClientError) {
      let body = try AdminClient(address, patience: .seconds(6)).body(of: .status)
      guard let status = try? JSONDecoder().decode(RelayStatus.self, from: Data(body)) else {
        return (
          true,
          [
            .warning(
              .relay, "\(unit) that runs is of another version than this program",
              fix: "systemctl restart meshrelay")
          ]
        )
      }
      return (true, findings(of: status) + (subject.isCompanion ? [istiod(status)] : []))
    } catch .notRunning {
      return (
        false,
        [
          .warning(
            .relay, "\(unit) does not run (nobody listens on \(address))",
            fix: subject.isCompanion
              ? "meshrelay connect --config \(subject.file)"
              : "systemctl start meshrelay; journalctl -u meshrelay -n 20")
        ]
      )
    } catch {
      return (true, [.of(error, .relay, as: .warning)])
    }
  }

  private func findings(of status: RelayStatus) -> [DoctorFinding] {
    var findings: [DoctorFinding] = status.reasons.map {
      .problem(.relay, "\(unit) is not ready: \($0)", fix: "meshrelay status; journalctl -u meshrelay -n 20")
    }
    for (name, state, error) in [
      ("configuration", status.config.state, status.config.error),
      ("policy", status.policy.state, status.policy.error),
    ] where state == .refused || state == .lastGood {
      findings.append(
        .problem(
          .relay, "the \(name) in force is not what the files say: \(error ?? "they were refused")",
          fix: "meshrelay check --config \(subject.file) && systemctl reload meshrelay"))
    }
    for source in status.sources where source.state != .synced {
      findings.append(
        .warning(
          .relay,
          "source \(source.name) is \(source.state.rawValue)" + (source.lastError.map { ": \($0)" } ?? ""),
          fix: source.state == .behind
            ? "meshrelay adopt \(source.name), if that is what it should serve"
            : "see reachability and sources above"))
    }
    for gate in status.gates {
      findings.append(
        .warning(
          .relay, "cluster \(gate.cluster ?? "(all)") is \(gate.kind.rawValue): \(gate.reason)",
          fix: "meshrelay status; docs: gates.md"))
    }
    if status.audit.state == .failing {
      findings.append(
        .problem(
          .relay, "the audit log cannot be written: \(status.audit.error ?? "")",
          fix: "make room, or let the user of meshrelay write: df -h; ls -ld \(subject.auditPath ?? "")"))
    }
    findings += (status.identity?.warnings ?? []).map {
      .warning(.relay, $0, fix: "see identity and trust above")
    }
    if findings.isEmpty {
      findings.append(
        .ok(
          .relay,
          "\(status.node) runs \(status.version) on \(status.io), ready, with \(status.clients.count) clients"
        ))
    }
    return findings
  }

  private func istiod(_ status: RelayStatus) -> DoctorFinding {
    let address = subject.listen.first?.description ?? ""
    guard let client = status.clients.first else {
      return .problem(
        .istiod, "istiod is not connected to \(address)",
        fix:
          "add to the mesh configuration, and restart istiod: configSources: [{address: xds://\(address)}, "
          + "{address: k8s://}], without tlsSettings")
    }
    let types = client.types.count
    guard types > 0 else {
      return .warning(
        .istiod, "istiod is connected to \(address) and has asked for nothing yet",
        fix: "look into istiod's log")
    }
    return .ok(.istiod, "istiod is connected to \(address) and follows \(types) types")
  }
}

/// Addresses of a relay that does not run must be free.
enum ListeningProbe {
  private final class Nobody: Acceptor {
    func accepted(_ socket: SocketID, from peer: SocketAddress) -> (any SocketHandler)? { nil }
  }

  static func examine(_ subject: DoctorSubject) -> [DoctorFinding] {
    guard let driver = try? makeDriver(nil) else { return [] }
    let loop = EventLoop(driver: driver)
    return subject.listen.compactMap { address in
      guard let socket = SocketAddress(literal: address.description) else {
        return .problem(
          .listening, "\(address) is no IP address that can be listened on",
          fix: "write one in \(subject.file)")
      }
      do throws(RingError) {
        let listener = try loop.listen(at: socket, backlog: 1, Nobody())
        loop.closeListener(listener)
        return .ok(.listening, "\(address) is free")
      } catch {
        return .of(error, .listening, fix: "ss -ltnp")
      }
    }
  }
}

/// Where state and audit log go: there, ours to write, with room.
enum FolderProbe {
  /// Reason: a store of a large mesh has hundreds of MiB, and is written whole now and then.
  private static let roomLeast: UInt64 = 256 << 20

  static func examine(_ subject: DoctorSubject) -> [DoctorFinding] {
    var folders: [(name: String, path: String)] = []
    if let state = subject.state { folders.append(("state", state)) }
    if let audit = subject.auditPath, let slash = audit.lastIndex(of: "/") {
      folders.append(("the audit log", String(audit[..<slash])))
    }
    return folders.map { examine($0.name, $0.path) }
  }

  private static func examine(_ name: String, _ path: String) -> DoctorFinding {
    var facts = stat()
    guard unsafe stat(path, &facts) == 0 else {
      guard errno == ENOENT else {
        return .problem(
          .state, "\(path), for \(name), cannot be used (\(unsafe String(cString: strerror(errno))))",
          fix: "ls -ld \(path)")
      }
      return .warning(
        .state, "\(path), for \(name), is not there: a start makes it, where its user may",
        fix: "install -d -m 0700 -o meshrelay -g meshrelay \(path)")
    }
    guard facts.st_mode & S_IFMT == S_IFDIR else {
      return .problem(.state, "\(path), for \(name), is no folder", fix: "ls -ld \(path)")
    }
    guard unsafe access(path, W_OK | X_OK) == 0 else {
      return .problem(
        .state, "this user may not write \(path), for \(name)",
        fix: "run doctor as the relay's user (sudo -u meshrelay meshrelay doctor), or chown meshrelay \(path)"
      )
    }
    guard facts.st_mode & S_IWOTH == 0 else {
      return .problem(.state, "every user may write \(path), for \(name)", fix: "chmod o-w \(path)")
    }
    var room = statvfs()
    if unsafe statvfs(path, &room) == 0 {
      let free = UInt64(room.f_bavail).multipliedReportingOverflow(by: UInt64(room.f_frsize)).partialValue
      guard free >= roomLeast else {
        return .warning(
          .state, "\(path), for \(name), has \(free >> 20) MiB left", fix: "df -h \(path)")
      }
    }
    return .ok(.state, "\(path), for \(name), can be written")
  }
}
