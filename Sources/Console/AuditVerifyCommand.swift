// `meshrelay audit verify`: whether a log is whole, and if not, the first place that is wrong. Works on files alone;
// needs no running relay and little memory, however long the log.

import Audit
import Glibc
import Identity
import Primitives
import SPIFFE
import TLS
import Trust

public struct AuditVerifyCommand: Sendable {
  public var files: [String]
  /// Hashes noted elsewhere that must be in the log.
  public var heads: [String]
  /// TRUST-DOMAIN=FILE, against which signers are judged.
  public var bundles: [String]
  public var json: Bool

  public init(files: [String], heads: [String], bundles: [String], json: Bool) {
    self.files = files
    self.heads = heads
    self.bundles = bundles
    self.json = json
  }

  /// Returns the exit code: 0 sound, 1 not.
  public func run() -> Int32 {
    if let wrong = heads.first(where: { $0.utf8.count != AuditHead.digits || !$0.allSatisfy(\.isHexDigit) }) {
      printError(
        "meshrelay audit verify: '\(ForeignText.line(wrong))' is no head: it has 64 hexadecimal digits\n")
      return 64
    }
    if let wrong = bundles.first(where: { AuditVerdict.bundle($0) == nil }) {
      printError("meshrelay audit verify: --bundle '\(ForeignText.line(wrong))' is not TRUST-DOMAIN=FILE\n")
      return 64
    }
    var verdict = AuditVerdict(heads: heads)
    verdict.judge(files)
    if verdict.problem == nil, !bundles.isEmpty { verdict.judgeSigners(bundles) }
    printText(json ? verdict.json + "\n" : verdict.text)
    return verdict.problem == nil ? 0 : 1
  }
}

/// What came of verifying.
struct AuditVerdict {
  private var verifier: AuditVerifier
  private(set) var problem: Problem?

  /// The first place that is wrong.
  struct Problem {
    let file: String
    /// 0: the file as a whole.
    let line: Int
    /// The number that belongs there; nil when it is about no line.
    var seq: UInt64?
    let message: String
  }
  private var files: [String] = []
  /// Given, but no part of the chain.
  private var skipped: [String] = []
  private var trusted = false

  /// Bytes read at once.
  private static let chunkBytes = 1 << 20

  init(heads: [String]) { verifier = AuditVerifier(heads: heads.map { $0.lowercased() }) }

  private var summary: AuditVerifier.Summary { verifier.summary }

  mutating func judge(_ paths: [String]) {
    // `audit.jsonl*` on a shell's command line also names these.
    skipped = paths.filter { $0.hasSuffix(".lock") || $0.contains(".jsonl.torn-") }
    var order: [(seq: UInt64, path: String)] = []
    for path in paths where !skipped.contains(path) {
      guard let seq = firstSeq(path) else { return }
      order.append((seq, path))
    }
    files = order.sorted { $0.seq < $1.seq }.map(\.path)
    for path in files where problem == nil { judge(path) }
    if problem == nil { note(verifier.finish()) }
  }

  /// Where a file belongs; one whose beginning cannot be read is judged first, and found wrong.
  private mutating func firstSeq(_ path: String) -> UInt64? {
    guard let descriptor = open(path) else { return nil }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    while bytes.count <= AuditLine.bytesMost, let more = read(descriptor, path), !more.isEmpty {
      bytes += more
      if let end = bytes.firstIndex(of: UInt8(ascii: "\n")) { return AuditLine(bytes[..<end])?.seq ?? 0 }
    }
    return problem == nil ? 0 : nil
  }

  private mutating func judge(_ path: String) {
    guard let descriptor = open(path) else { return }
    defer { close(descriptor) }
    note(verifier.begin(file: path))
    var isEmpty = true
    while problem == nil, let bytes = read(descriptor, path), !bytes.isEmpty {
      isEmpty = false
      note(verifier.receive(bytes))
    }
    // A closed file has lines. The one that is written now has none for a moment, after a rotation.
    if problem == nil, isEmpty, files.contains(where: { $0 != path && !$0.hasPrefix(path + ".") }) {
      problem = Problem(
        file: path, line: 0, message: "\(path): there is no record in it: what it held was taken out.")
    }
  }

  private mutating func note(_ fault: AuditFault?) {
    guard let fault, problem == nil else { return }
    let seq = fault.line > 0 && summary.records > 0 ? summary.head.seq &+ 1 : nil
    problem = Problem(file: fault.file, line: fault.line, seq: seq, message: fault.description)
  }

  private mutating func open(_ path: String) -> CInt? {
    let descriptor = unsafe Glibc.open(path, O_RDONLY | O_CLOEXEC)
    if descriptor >= 0 { return descriptor }
    problem = Problem(
      file: path, line: 0, message: "\(path): cannot be read: \(unsafe String(cString: strerror(errno))).")
    return nil
  }

  private mutating func read(_ descriptor: CInt, _ path: String) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: AuditVerdict.chunkBytes)
    let count = unsafe Glibc.read(descriptor, &bytes, bytes.count)
    guard count >= 0 else {
      if errno == EINTR { return read(descriptor, path) }
      problem = Problem(
        file: path, line: 0, message: "\(path): cannot be read: \(unsafe String(cString: strerror(errno))).")
      return nil
    }
    bytes.removeLast(bytes.count - count)
    return bytes
  }

  /// What `TRUST-DOMAIN=FILE` says.
  static func bundle(_ text: String) -> (TrustDomain, path: String)? {
    let parts = text.split(separator: "=", maxSplits: 1).map(String.init)
    guard parts.count == 2, let trustDomain = try? TrustDomain(parts[0]) else { return nil }
    return (trustDomain, parts[1])
  }

  /// Every signer must have been one of ours when it signed.
  mutating func judgeSigners(_ texts: [String]) {
    var known: [TrustDomain: Bundle] = [:]
    for (trustDomain, path) in texts.compactMap(AuditVerdict.bundle) {
      let (found, faults) = BundleFiles([(trustDomain, path)]).read()
      if let fault = faults[trustDomain] {
        problem = Problem(file: path, line: 0, message: "\(fault)")
        return
      }
      known.merge(found) { _, newer in newer }
    }
    for witness in summary.signers {
      do throws(VerificationFailure) {
        _ = try verifyPeer(chain: witness.certificates, bundles: known, at: witness.time, role: .server)
      } catch {
        let place = "the checkpoint of seq \(witness.head.seq)"
        problem = Problem(
          file: files.last ?? "", line: 0,
          message: "\(place) is signed by somebody who was not trusted: \(error)")
        return
      }
    }
    guard !summary.signers.isEmpty else {
      problem = Problem(
        file: files.last ?? "", line: 0,
        message: "no checkpoint is signed, so no bundle can vouch for the log.")
      return
    }
    trusted = true
  }

  private var signer: String? {
    guard let leaf = summary.witness?.certificates.first else { return nil }
    return (try? Certificate(der: leaf))?.uriNames.first.map { ForeignText.line($0) }
  }

  var text: String {
    var lines = skipped.map { "\($0): no part of the chain, not looked at" }
    if let problem {
      lines.append(problem.message + (problem.seq.map { " " + sound(before: $0) } ?? ""))
    } else {
      let range = "seq \(summary.first) to \(summary.head.seq)"
      let times = "\(summary.firstTime?.rfc3339 ?? "") to \(summary.lastTime?.rfc3339 ?? "")"
      lines.append("sound: \(summary.records) records in \(summary.files) files, \(range), \(times)")
      if summary.lost > 0 { lines.append("the relay could not keep \(summary.lost) further records") }
      if let witness = summary.witness {
        let by = signer.map { " by \($0)" } ?? ""
        let judged = trusted ? ", who was trusted" : ""
        lines.append("signed up to seq \(witness.head.seq)\(by)\(judged)")
      } else {
        lines.append("no checkpoint is signed")
      }
      lines.append("head \(summary.head)")
    }
    return lines.map { $0 + "\n" }.joined()
  }

  /// The chain alone proves a line only by those that follow: who changed one may have mended some after it. What is
  /// signed cannot be mended.
  private func sound(before seq: UInt64) -> String {
    let signed =
      summary.witness.map { "; what is before seq \($0.head.seq) is signed" } ?? ", and nothing is signed"
    return "Up to seq \(seq - 1) the lines fit together\(signed)."
  }

  var json: String {
    var writer = JSONWriter()
    writer.object { object in
      object.field("sound", problem == nil)
      object.field("records", summary.records)
      object.field("files", strings: files)
      object.field("skipped", strings: skipped)
      object.field("firstSeq", Int64(clamping: summary.first))
      object.field("lastSeq", Int64(clamping: summary.head.seq))
      object.field("firstTime", summary.firstTime?.rfc3339)
      object.field("lastTime", summary.lastTime?.rfc3339)
      object.field("head", summary.records > 0 ? summary.head.description : nil)
      object.field("lost", Int64(clamping: summary.lost))
      object.field("checkpoints", summary.checkpoints)
      if let witness = summary.witness {
        object.field("signedSeq", Int64(clamping: witness.head.seq))
        object.field("signer", signer)
      }
      object.field("trusted", trusted)
      guard let problem else { return }
      object.field(
        "problem",
        object: { entry in
          entry.field("file", problem.file)
          entry.field("line", problem.line)
          if let seq = problem.seq { entry.field("seq", Int64(clamping: seq)) }
          entry.field("message", problem.message)
        })
    }
    return writer.text
  }
}
