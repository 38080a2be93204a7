// Where log lines go: to journald with fields when it reads this process's standard error anyway, else
// to standard error as lines for people. Source: sd_journal_sendv(3), systemd.exec(5) $JOURNAL_STREAM,
// sd-daemon(3) for levels.
//
// Both can block, so a worker writes and no loop waits. When its queue is full, lines are lost, counted,
// and the loss is said as soon as there is room.

import CSystemd
import Glibc
import Logging
import Primitives
import Synchronization

/// The one destination all loggers of the process share.
final class LogDestination: Sendable {
  enum Form: Sendable {
    case journal
    case standardError
  }

  /// What is written; a value, so that the line is made on the caller's thread and only bytes travel.
  struct Line: Sendable {
    var level: Logger.Level
    var time: Timestamp
    var label: String
    var message: String
    /// Sorted by name.
    var fields: [(name: String, value: String)]
  }

  let form: Form
  private let worker: any Worker
  private let lost = Atomic<Int>(0)
  /// Lines that were refused and whose loss was not said yet.
  var linesLost: Int { lost.load(ordering: .relaxed) }

  init(form: Form = LogDestination.inherited, worker: any Worker) {
    self.form = form
    self.worker = worker
  }

  /// The journal when standard error is the stream systemd connected to it, and was not redirected since.
  static var inherited: Form {
    guard let variable = unsafe getenv("JOURNAL_STREAM") else { return .standardError }
    let parts = unsafe String(cString: variable).split(separator: ":")
    var facts = stat()
    guard parts.count == 2, unsafe fstat(STDERR_FILENO, &facts) == 0,
      UInt64(parts[0]) == UInt64(facts.st_dev),
      UInt64(parts[1]) == UInt64(facts.st_ino)
    else { return .standardError }
    return .journal
  }

  func write(_ line: Line) {
    let form = form
    let missed = lost.exchange(0, ordering: .relaxed)
    let accepted = worker.submit {
      if missed > 0 { LogDestination.emit(LogDestination.lossLine(missed, line.time), form) }
      LogDestination.emit(line, form)
    }
    if !accepted { lost.add(missed + 1, ordering: .relaxed) }
  }

  private static func lossLine(_ count: Int, _ time: Timestamp) -> Line {
    Line(
      level: .warning, time: time, label: "log",
      message: "\(count) log lines were lost: the log was too slow",
      fields: [])
  }

  private static func emit(_ line: Line, _ form: Form) {
    switch form {
    case .journal: send(line.journalFields)
    case .standardError: writeAll(Array((line.text + "\n").utf8))
    }
  }

  /// A journal that does not answer is not reported: there is nowhere left to say it.
  static func send(_ fields: [String]) {
    let bytes = fields.map { Array($0.utf8) }
    let lengths = bytes.map(\.count)
    let all = bytes.flatMap { $0 }
    unsafe all.withUnsafeBytes { buffer in
      var start = 0
      let vectors = unsafe lengths.map { length in
        defer { start += length }
        let address = unsafe buffer.baseAddress.map { unsafe UnsafeMutableRawPointer(mutating: $0 + start) }
        return unsafe iovec(iov_base: address, iov_len: length)
      }
      unsafe _ = sd_journal_sendv(vectors, CInt(vectors.count))
    }
  }

  private static func writeAll(_ bytes: [UInt8]) {
    _ = PlainFiles.write(bytes[...], to: STDERR_FILENO)
  }
}

extension LogDestination.Line {
  /// `2026-11-23T17:00:00.25Z warning upstream: lost the upstream address=10.0.0.1:15010`, on one line
  /// whatever a peer put into it.
  var text: String {
    let pairs = fields.map { " \($0.name)=\($0.value)" }.joined()
    return ForeignText.line("\(time.rfc3339) \(level) \(label): \(message)\(pairs)")
  }

  /// `NAME=value` each. The journal takes any bytes in a value; names are upper-case ASCII.
  var journalFields: [String] {
    let own = fields.map { "MESHRELAY_" + LogDestination.Line.journalName($0.name) + "=" + $0.value }
    return [
      "MESSAGE=" + message, "PRIORITY=\(priority)", "SYSLOG_IDENTIFIER=meshrelay", "MESHRELAY_ROOM=" + label,
    ] + own
  }

  /// syslog(3) severities: 2 critical to 7 debug.
  private var priority: Int {
    switch level {
    case .trace, .debug: 7
    case .info: 6
    case .notice: 5
    case .warning: 4
    case .error: 3
    case .critical: 2
    }
  }

  /// `spiffeID` becomes `SPIFFEID`; whatever the journal would refuse becomes `_`.
  static func journalName(_ name: String) -> String {
    String(
      decoding: name.utf8.prefix(48).map { byte in
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"): byte - 32
        case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"): byte
        default: UInt8(ascii: "_")
        }
      }, as: UTF8.self)
  }
}

/// swift-log's side of it: one per logger, a value.
struct JournalLog: LogHandler {
  var logLevel: Logger.Level = .info
  var metadata: Logger.Metadata = [:]
  var metadataProvider: Logger.MetadataProvider?

  private let label: String
  private let destination: LogDestination

  init(label: String, destination: LogDestination, level: Logger.Level = .info) {
    self.label = label
    self.destination = destination
    self.logLevel = level
  }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    destination.write(
      LogDestination.Line(
        level: event.level, time: wallClock(), label: label, message: event.message.description,
        fields: fields(of: event)))
  }

  /// The newest word on each name: the line's own before the provider's before the logger's.
  func fields(of event: LogEvent) -> [(name: String, value: String)] {
    var all = metadata
    for extra in [metadataProvider?.get(), event.metadata] {
      if let extra { all.merge(extra) { _, newer in newer } }
    }
    if let error = event.error { all["error"] = "\(error)" }
    return all.sorted { $0.key < $1.key }.flatMap { name, value in
      // The journal takes a name several times, and so do people.
      if case .array(let values) = value { return values.map { (name, $0.description) } }
      return [(name, value.description)]
    }
  }
}

private func wallClock() -> Timestamp {
  var time = timespec()
  unsafe clock_gettime(CLOCK_REALTIME, &time)
  return Timestamp(seconds: Int64(time.tv_sec), nanoseconds: Int32(time.tv_nsec / 1_000_000 * 1_000_000))
}
