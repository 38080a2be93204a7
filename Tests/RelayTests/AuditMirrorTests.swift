// Goal: the journal gets every line of the audit log as it was written, with its values as fields, or says how many not.
// Method: real chains; workers that are quick, slow or gone; what would be sent is kept.

import Audit
import Primitives
import SPIFFE
import Synchronization
import Testing

@testable import Relay

struct AuditMirrorTests {
  /// Keeps what is sent.
  private final class Journal: Sendable {
    let entries = Mutex<[[String]]>([])
    var messages: [String] {
      entries.withLock { $0.map { String($0[0].dropFirst("MESSAGE=".count)) } }
    }
  }

  private static func lines(_ count: Int, of chain: inout AuditChain) throws -> [UInt8] {
    var lines: [UInt8] = []
    for index in 0..<count {
      var record = AuditRecord(
        .deliver, spiffeID: try SPIFFEID(parsing: "spiffe://td/cluster/a"), cluster: "a", type: "t/v1/K",
        version: "v\(index)", sequence: 7, reason: "\"quoted\"\n")
      record.added = NameList(["ns/x"])
      chain.append(record, at: Timestamp(seconds: 1_790_000_000), to: &lines)
    }
    return lines
  }

  @Test func aLineBecomesAnEntry() throws {
    var chain = AuditChain(after: .none)
    let line = try Self.lines(1, of: &chain).dropLast()
    let zeros = String(repeating: "0", count: 64)
    #expect(
      AuditMirror.fields(of: line) == [
        "MESSAGE=" + String(decoding: line, as: UTF8.self), "PRIORITY=6", "SYSLOG_IDENTIFIER=meshrelay-audit",
        "MESHRELAY_TIME=2026-09-21T14:13:20Z", "MESHRELAY_SEQ=1", "MESHRELAY_PREV=\(zeros)",
        "MESHRELAY_EVENT=deliver",
        "MESHRELAY_SPIFFE_ID=spiffe://td/cluster/a", "MESHRELAY_CLUSTER=a", "MESHRELAY_TYPE=t/v1/K",
        "MESHRELAY_VERSION=v0", "MESHRELAY_SEQUENCE=7", "MESHRELAY_REASON=\"quoted\"\\u{a}",
        "MESHRELAY_ADDED_COUNT=1",
      ])
  }

  @Test func whatTheJournalHasIsALog() throws {
    let journal = Journal()
    let worker = ThreadWorker(name: "journal", capacity: 4)
    let mirror = AuditMirror(worker: worker) { entry in journal.entries.withLock { $0.append(entry) } }
    var chain = AuditChain(after: .none)
    // More than one turn sends, in uneven parts; the last are taken while the worker ends.
    for count in [1, 700, 3, 900] { mirror.take(try Self.lines(count, of: &chain)) }
    worker.stop()
    var verifier = AuditVerifier(heads: [chain.head.description])
    _ = verifier.begin(file: "journal")
    for message in journal.messages { _ = verifier.receive(Array(message.utf8) + [UInt8(ascii: "\n")]) }
    #expect(verifier.finish() == nil)
    #expect(verifier.summary.records == 1604)
  }

  @Test func whatDoesNotFitIsCountedAndSaid() throws {
    let journal = Journal()
    let worker = PatientWorker()
    let mirror = AuditMirror(worker: worker) { entry in journal.entries.withLock { $0.append(entry) } }
    var chain = AuditChain(after: .none)
    let lines = try Self.lines(1000, of: &chain)
    let fitting = AuditMirror.bytesMost / lines.count
    for _ in 0..<(fitting + 3) { mirror.take(lines) }
    worker.run()
    let messages = journal.messages
    #expect(messages.count == fitting * 1000 + 1)
    #expect(messages.contains { $0.hasPrefix("3000 records of the audit log are not in the journal") })
    // It goes on afterwards.
    mirror.take(lines)
    worker.run()
    #expect(journal.messages.count == (fitting + 1) * 1000 + 1)
  }

  /// Runs jobs when told to.
  private final class PatientWorker: Worker {
    private let jobs = Mutex<[@Sendable () -> Void]>([])
    func submit(_ job: @escaping @Sendable () -> Void) -> Bool {
      jobs.withLock { $0.append(job) }
      return true
    }
    func run() {
      while let job = jobs.withLock({ $0.isEmpty ? nil : $0.removeFirst() }) { job() }
    }
  }
}
