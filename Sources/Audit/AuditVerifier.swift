// Whether a log is whole: no line changed, dropped, put in, moved or cut off. Reads in pieces of any size and keeps
// one line, so a log of many gigabytes needs little memory. Stops at the first line that does not fit.
//
// What it can prove: every line but the last is held by its successor, everything before a checkpoint by a signature.
// That nothing was cut off the end is proven by heads noted elsewhere (journal, status): give them as `heads`.

internal import Digest
public import Primitives

/// Why a log does not verify: the first place that is wrong.
public struct AuditFault: Explained, Equatable {
  public let file: String
  /// Counted from 1; 0 when it is about the file as a whole.
  public let line: Int
  public let kind: Kind

  public enum Kind: Equatable, Sendable {
    case notALine
    /// No newline at the end of the file.
    case unended
    case tooLong
    case missingLines(expected: UInt64, found: UInt64)
    case outOfOrder(expected: UInt64, found: UInt64)
    /// `prev` is not the hash of the line before, which stands at `before`.
    case broken(before: String)
    /// A log begins with line 1, or with the checkpoint that opens a later file.
    case beginsInside(seq: UInt64)
    case badSignature(String)
    /// This hash, noted elsewhere, is of no line.
    case headMissing(String)
    case empty
  }

  public var what: String {
    let place = line > 0 ? "\(file):\(line): " : "\(file): "
    return place + said
  }

  private var said: String {
    switch kind {
    case .notALine: "this is no line of an audit log"
    case .unended: "the last line has no end"
    case .tooLong: "this line has more than \(AuditLine.bytesMost) bytes"
    case .missingLines(let expected, let found): "seq is \(found) where \(expected) has to follow"
    case .outOfOrder(let expected, let found): "seq is \(found) where \(expected) has to follow"
    case .broken(let before): "prev is not the hash of the line before, \(before)"
    case .beginsInside(let seq): "the log begins with seq \(seq)"
    case .badSignature(let reason): "the checkpoint's signature does not fit: \(reason)"
    case .headMissing(let head): "no line has the hash \(head)"
    case .empty: "there is no record in it"
    }
  }

  public var why: String {
    switch kind {
    case .notALine: "it was changed, or another program wrote into the file"
    case .unended: "it was cut, or the relay is writing it now"
    case .tooLong: "the relay writes no such lines"
    case .missingLines(let expected, let found):
      "the \(found - expected) records before it were taken out"
        + (line == 1 ? ", or a file between was not given" : "")
    case .outOfOrder: "records were moved, repeated or put in"
    case .broken: "one of the two was changed, or the lines between them are missing"
    case .beginsInside: "the records before it were taken out, or the files that hold them were not given"
    case .badSignature: "the checkpoint or its certificate was changed"
    case .headMissing: "the end of the log was cut off, or it is another log"
    case .empty: ""
    }
  }

  public var blame: Blame { .operator }
}

/// A checkpoint that was met, its signature judged.
public struct AuditWitness: Sendable, Equatable {
  public let head: AuditHead
  public let time: Timestamp
  /// DER, leaf first; empty when it was written without an identity.
  public let certificates: [[UInt8]]
}

public struct AuditVerifier {
  /// What is known so far; whole when `finish` returned no fault.
  public struct Summary: Sendable, Equatable {
    public var records = 0
    public var files = 0
    public var first: UInt64 = 0
    public var firstTime: Timestamp?
    public var lastTime: Timestamp?
    public var head = AuditHead.none
    /// Records that the relay says it could not keep.
    public var lost: UInt64 = 0
    public var checkpoints = 0
    /// The newest that bears a signature.
    public var witness: AuditWitness?
    /// The first checkpoint of each signer.
    public var signers: [AuditWitness] = []
  }

  public private(set) var summary = Summary()
  /// Signers remembered. Reason: an SVID an hour for a year; some kilobytes each.
  static let signersMost = 10_000
  private var missingHeads: [String]
  private var file = ""
  private var line = 0
  private var previousPlace = ""
  private var partial: [UInt8] = []
  private var fault: AuditFault?

  /// - Parameter heads: hashes of lines that must be in the log, as 64 digits.
  public init(heads: [String] = []) { missingHeads = heads }

  /// The next file begins; files are given in the order of their records.
  public mutating func begin(file: String) -> AuditFault? {
    endFile()
    self.file = file
    line = 0
    summary.files += 1
    return fault
  }

  /// The next bytes of the file. After a fault nothing more is looked at.
  public mutating func receive(_ bytes: [UInt8]) -> AuditFault? {
    var rest = bytes[...]
    while fault == nil, let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
      if partial.isEmpty {
        judge(rest[..<end])
      } else {
        partial.append(contentsOf: rest[..<end])
        let whole = partial
        partial = []
        judge(whole[...])
      }
      rest = rest[(end + 1)...]
    }
    guard fault == nil else { return fault }
    if partial.count + rest.count > AuditLine.bytesMost {
      line += 1
      fail(.tooLong)
    } else {
      partial.append(contentsOf: rest)
    }
    return fault
  }

  /// No further file: the verdict.
  public mutating func finish() -> AuditFault? {
    endFile()
    if fault == nil, summary.records == 0 {
      line = 0
      fail(.empty)
    }
    if fault == nil, let head = missingHeads.first {
      line = 0
      fail(.headMissing(head))
    }
    return fault
  }

  private mutating func endFile() {
    guard fault == nil, !partial.isEmpty else { return }
    line += 1
    fail(.unended)
  }

  private mutating func fail(_ kind: AuditFault.Kind) {
    fault = AuditFault(file: file, line: line, kind: kind)
  }

  private mutating func judge(_ bytes: ArraySlice<UInt8>) {
    line += 1
    guard bytes.count <= AuditLine.bytesMost else { return fail(.tooLong) }
    guard let read = AuditLine(bytes) else { return fail(.notALine) }
    if let kind = place(read) ?? signatureFault(read) { return fail(kind) }
    summary.records += 1
    summary.lost = summary.lost &+ read.lost
    if summary.records == 1 {
      summary.first = read.seq
      summary.firstTime = read.time
    }
    summary.lastTime = read.time
    summary.head = read.head
    previousPlace = "\(file):\(line)"
    if !missingHeads.isEmpty {
      let hash = read.head.description
      missingHeads.removeAll { $0 == hash }
    }
  }

  /// Nil when the line is where it belongs.
  private func place(_ read: AuditLine) -> AuditFault.Kind? {
    guard summary.records > 0 else {
      if read.seq == 1 {
        return read.prev == AuditHead.none.hash ? nil : .broken(before: "which is none")
      }
      let opensFile = read.event == "checkpoint" && read.reason == AuditRotation.reason
      return opensFile ? nil : .beginsInside(seq: read.seq)
    }
    let expected = summary.head.seq &+ 1
    if read.seq > expected { return .missingLines(expected: expected, found: read.seq) }
    if read.seq < expected { return .outOfOrder(expected: expected, found: read.seq) }
    return read.prev == summary.head.hash ? nil : .broken(before: previousPlace)
  }

  private mutating func signatureFault(_ read: AuditLine) -> AuditFault.Kind? {
    guard read.event == "checkpoint" else { return nil }
    guard let signature = read.signature, let bytes = Base64.decode(Array(signature.utf8)) else {
      return .badSignature("it cannot be read")
    }
    var certificates: [[UInt8]] = []
    for text in read.certificates {
      guard let certificate = Base64.decode(Array(text.utf8)) else {
        return .badSignature("a certificate cannot be read")
      }
      certificates.append(certificate)
    }
    summary.checkpoints += 1
    // Written before the relay had an identity: it holds nothing, and claims nothing.
    guard let leaf = certificates.first else { return bytes.isEmpty ? nil : .badSignature("no certificate") }
    do throws(SignatureError) {
      let message = AuditCheckpoint.signedBytes(Array(read.unsigned))
      guard try Signature.verify(bytes, of: message, certificate: leaf) else {
        return .badSignature("it is of other bytes, or of another key")
      }
    } catch {
      return .badSignature(error.what)
    }
    let witness = AuditWitness(head: read.head, time: read.time, certificates: certificates)
    summary.witness = witness
    let isKnown = summary.signers.contains { $0.certificates == certificates }
    if !isKnown, summary.signers.count < AuditVerifier.signersMost { summary.signers.append(witness) }
    return nil
  }
}

/// How a file that is not the first begins.
public enum AuditRotation {
  /// The reason in the checkpoint that opens it.
  public static let reason = "rotation"
}
