// Goal: a log line is one line, its journal fields are well-formed, and loss is said.
// Method: lines as values; a worker that refuses on demand.

import Logging
import Primitives
import Synchronization
import Testing

@testable import Relay

struct JournalLogTests {
  static let line = LogDestination.Line(
    level: .warning, time: Timestamp(seconds: 1_790_000_000, nanoseconds: 250_000_000), label: "upstream",
    message: "lost it\nREADY", fields: [("address", "10.0.0.1:5"), ("spiffe-id é", "spiffe://td/a")])

  @Test func textIsOneLine() {
    #expect(
      Self.line.text
        == "2026-09-21T14:13:20.25Z warning upstream: lost it\\u{a}READY address=10.0.0.1:5 spiffe-id é=spiffe://td/a"
    )
  }

  @Test func journalNamesAreUpperCaseASCII() {
    #expect(
      Self.line.journalFields == [
        "MESSAGE=lost it\nREADY", "PRIORITY=4", "SYSLOG_IDENTIFIER=meshrelay", "MESHRELAY_ROOM=upstream",
        "MESHRELAY_ADDRESS=10.0.0.1:5", "MESHRELAY_SPIFFE_ID___=spiffe://td/a",
      ])
  }

  @Test func whatIsTooMuchIsCountedAndSaid() {
    let worker = ReluctantWorker()
    let destination = LogDestination(form: .standardError, worker: worker)
    worker.refuses.store(true, ordering: .relaxed)
    for _ in 0..<3 { destination.write(Self.line) }
    worker.refuses.store(false, ordering: .relaxed)
    #expect(destination.linesLost == 3)
    destination.write(Self.line)
    #expect(destination.linesLost == 0)
  }

  @Test func metadataOfLoggerAndLineAreMerged() {
    let destination = LogDestination(form: .standardError, worker: InlineWorker())
    var log = JournalLog(label: "l", destination: destination)
    log[metadataKey: "a"] = "1"
    log[metadataKey: "b"] = "1"
    let event = LogEvent(
      level: .info, message: "m", metadata: ["b": "2"], source: "s", file: "f", function: "f", line: 1)
    #expect(log.fields(of: event).map { $0.name + $0.value } == ["a1", "b2"])
  }
}

private final class ReluctantWorker: Worker {
  let refuses = Atomic<Bool>(false)
  func submit(_ job: @escaping @Sendable () -> Void) -> Bool { !refuses.load(ordering: .relaxed) }
}
