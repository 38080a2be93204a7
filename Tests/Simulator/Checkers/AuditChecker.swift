// The audit chain verifies, through crashes and full disks; and everything that a client hears stands in it already:
// a `deliver` to its identity with the version it got, and a `publish` with the names of what was delivered.

import Audit
import Primitives
import Snapshots

struct AuditChecker {
  /// Versions are hashes of content: which dialect's word for the type it was does not matter.
  private struct Delivery: Hashable {
    let spiffeID: String
    let version: String
  }

  /// One host's log as far as it was read.
  private struct Reading {
    var verifier = AuditVerifier()
    var read = 0
    var deliveries: Set<Delivery> = []
    var published: Set<String> = [Collection.empty.version.description]
    var starts = 0
  }

  private var readings: [String: Reading] = [:]
  /// Records read, all hosts together.
  private(set) var records = 0

  /// What a client heard from a host with this log.
  mutating func hear(_ answer: Answer, _ id: String, at host: String, _ log: MemoryTrail) -> [String] {
    var findings = read(host, log)
    let heard = Delivery(spiffeID: id, version: answer.version)
    if readings[host]?.deliveries.contains(heard) != true {
      findings.append(
        "\(id) heard \(answer.typeURL) \(answer.version) from \(host), which has no record of it")
    }
    return findings
  }

  /// Reads what is new.
  mutating func read(_ host: String, _ log: MemoryTrail) -> [String] {
    var reading = readings[host] ?? Reading()
    let bytes = log.bytes
    if reading.read == 0 { _ = reading.verifier.begin(file: host) }
    // A torn line is no news: the next start takes it away.
    let end = (bytes.lastIndex(of: UInt8(ascii: "\n")) ?? -1) + 1
    guard end > reading.read else { return [] }
    let fresh = Array(bytes[reading.read..<end])
    var findings: [String] = []
    if let fault = reading.verifier.receive(fresh) { findings.append("the audit log is broken: \(fault)") }
    for line in fresh.split(separator: UInt8(ascii: "\n")) {
      records += 1
      note(String(decoding: line, as: UTF8.self), host, &reading, &findings)
    }
    reading.read = end
    readings[host] = reading
    return findings
  }

  private func note(_ line: String, _ host: String, _ reading: inout Reading, _ findings: inout [String]) {
    guard let event = AuditChecker.field("event", line) else { return }
    let version = AuditChecker.field("version", line) ?? ""
    switch event {
    case "publish": reading.published.insert(version)
    case "deliver":
      reading.deliveries.insert(
        Delivery(
          spiffeID: AuditChecker.field("spiffeID", line) ?? "", version: version))
      // What a relay is told of its own grant has no names: the policy's hash stands for it.
      if AuditChecker.field("type", line) == GrantNotice.typeURL.text { break }
      let whole = AuditChecker.field("view", line) ?? version
      if !reading.published.contains(whole) {
        findings.append("\(host) delivers \(whole), which no earlier record says was published")
      }
    default: break
    }
  }

  /// The value of a string field; ours need no unescaping here.
  private static func field(_ name: String, _ line: String) -> String? {
    guard let range = line.firstRange(of: "\"\(name)\":\"") else { return nil }
    return String(line[range.upperBound...].prefix { $0 != "\"" })
  }
}
