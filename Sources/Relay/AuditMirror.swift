// Lines of the audit log on their way to the journal (`audit.journal: all`): each is an entry whose MESSAGE is the line
// itself, so that `journalctl -o cat` gives a log that `audit verify` can judge, with the line's values as fields.
//
// Nothing waits for the journal: what it has no room for in time is counted, told in the journal, and stands in the
// log all the same. Lines of the relay's own log go in between.

import Audit
import Primitives
import Synchronization

final class AuditMirror: Sendable {
  fileprivate struct Queue {
    /// Whole lines.
    var bytes: [UInt8] = []
    /// What was sent of them.
    var start = 0
    /// Lines that did not fit.
    var lost = 0
    /// The worker was asked.
    var isAsked = false
  }

  /// Bytes that wait at once. Reason: some seconds of a relay with thousands of clients.
  static let bytesMost = 16 << 20
  /// Bytes sent before other lines have their turn.
  private static let turnBytes = 64 << 10
  static let identifier = "meshrelay-audit"

  private let queue = Mutex(Queue())
  private let worker: any Worker
  private let send: @Sendable ([String]) -> Void

  init(worker: any Worker, send: @escaping @Sendable ([String]) -> Void = { LogDestination.send($0) }) {
    self.worker = worker
    self.send = send
  }

  /// Takes whole lines; from any thread, without waiting.
  func take(_ lines: [UInt8]) {
    let mustAsk = queue.withLock { queue in
      if queue.bytes.count - queue.start + lines.count > AuditMirror.bytesMost {
        queue.lost += lines.count { $0 == UInt8(ascii: "\n") }
      } else {
        queue.bytes += lines
      }
      defer { queue.isAsked = true }
      return !queue.isAsked
    }
    if mustAsk { ask() }
  }

  private func ask() {
    // Refused: the next lines ask again.
    guard !worker.submit({ [self] in work() }) else { return }
    queue.withLock { $0.isAsked = false }
  }

  /// One turn. When the worker takes nothing more because it ends, the rest is sent at once.
  private func work() {
    while true {
      let (lines, lost) = queue.withLock { $0.next(AuditMirror.turnBytes) }
      for line in lines.split(separator: UInt8(ascii: "\n")) { send(AuditMirror.fields(of: line)) }
      if lost > 0 { send(AuditMirror.loss(lost)) }
      let isDone = queue.withLock { queue in
        if queue.start == queue.bytes.count { queue.isAsked = false }
        return !queue.isAsked
      }
      if isDone || worker.submit({ [self] in work() }) { return }
    }
  }

  static func fields(of line: ArraySlice<UInt8>) -> [String] {
    let fields = AuditLine.fields(of: line)
    let event = fields.first { $0.name == "event" }?.value
    // syslog(3): warning, notice, info.
    let priority = event == "nack" ? 4 : event == "refuse" ? 5 : 6
    return [
      "MESSAGE=" + String(decoding: line, as: UTF8.self), "PRIORITY=\(priority)",
      "SYSLOG_IDENTIFIER=" + identifier,
    ] + fields.map { "MESHRELAY_\(name($0.name))=\($0.value)" }
  }

  /// `spiffeID` is called as in lines of the relay's own log, `addedCount` in the same manner.
  private static func name(_ key: String) -> String {
    var words = ""
    var isAfterSmall = false
    for character in key {
      if character.isUppercase, isAfterSmall { words.append("_") }
      isAfterSmall = character.isLowercase
      words.append(character)
    }
    return LogDestination.Line.journalName(words)
  }

  private static func loss(_ count: Int) -> [String] {
    [
      "MESSAGE=\(count) records of the audit log are not in the journal, which was too slow: the log file has them",
      "PRIORITY=4", "SYSLOG_IDENTIFIER=" + identifier, "MESHRELAY_OMITTED=\(count)",
    ]
  }
}

extension AuditMirror.Queue {
  /// Whole lines of at least so many bytes together, or all there are; and how many were lost.
  fileprivate mutating func next(_ wanted: Int) -> (lines: ArraySlice<UInt8>, lost: Int) {
    defer { lost = 0 }
    let rest = bytes[start...]
    guard rest.count > wanted, let end = rest[(start + wanted)...].firstIndex(of: UInt8(ascii: "\n")) else {
      defer { (bytes, start) = ([], 0) }
      return (rest, lost)
    }
    start = end + 1
    return (rest[...end], lost)
  }
}
