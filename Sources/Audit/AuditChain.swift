// The chain: every line names the hash of the line before, so that nothing can be changed, taken out, put in or
// moved without every later line telling. Source: docs/audit.md. Pure: bytes in, lines out.
//
//   {"time":"…","seq":7,"prev":"<SHA-256 of line 6>","event":…}\n

internal import Digest
public import Primitives

/// The end of a log: what the next line has to name.
public struct AuditHead: Sendable, Equatable, CustomStringConvertible {
  /// Number of the newest line; 0 before the first.
  public let seq: UInt64
  /// Its hash as 64 lower-case hexadecimal digits; zeros before the first.
  public let hash: [UInt8]

  public init(seq: UInt64, hash: [UInt8]) {
    precondition(hash.count == AuditHead.digits, "the hash of a line has 64 digits")
    self.seq = seq
    self.hash = hash
  }

  /// Before the first line.
  public static let none = AuditHead(seq: 0, hash: [UInt8](repeating: UInt8(ascii: "0"), count: digits))
  /// Hexadecimal digits of a hash.
  public static let digits = 2 * SHA256.byteCount

  public var description: String { String(decoding: hash, as: UTF8.self) }
}

/// Makes lines.
public struct AuditChain: Sendable {
  public private(set) var head: AuditHead
  /// Records that could not be kept since the last line; the next line says so.
  public private(set) var lost: Int

  public init(after head: AuditHead, lost: Int = 0) {
    self.head = head
    self.lost = lost
  }

  /// Adds the lines of a batch to `lines`.
  public mutating func append(_ batch: AuditBatch, to lines: inout [UInt8]) {
    let time = Array(batch.time.rfc3339.utf8)
    lines.reserveCapacity(lines.count + batch.bytes.count + batch.count * AuditChain.openingBytes)
    var start = 0
    for end in batch.ends {
      append(time, batch.bytes[start..<end], to: &lines)
      start = end
    }
  }

  public mutating func append(_ record: AuditRecord, at time: Timestamp, to lines: inout [UInt8]) {
    append(AuditBatch(record, at: time), to: &lines)
  }

  /// Adds a checkpoint. `sign` is given the bytes that count and answers with a signature, or nil when there is
  /// no key to sign with.
  public mutating func appendCheckpoint(
    reason: String?, at time: Timestamp, certificates: [[UInt8]], to lines: inout [UInt8],
    sign: ([UInt8]) -> [UInt8]?
  ) {
    var writer = JSONWriter()
    writer.object { line in
      line.field("event", AuditRecord.Event.checkpoint.rawValue)
      if let reason { line.field("reason", reason) }
      line.field("certificates", strings: certificates.map { Base64.encode($0[...]) })
    }
    let tail = Array(writer.bytes.dropFirst().dropLast())
    let start = lines.count
    open(Array(time.rfc3339.utf8), to: &lines)
    lines.append(contentsOf: tail)
    // Everything of the line up to here is signed, and by its `prev` every line before it.
    let signature = sign(AuditCheckpoint.signedBytes(Array(lines[start...])))
    lines.append(contentsOf: AuditCheckpoint.signatureOpening)
    lines.append(contentsOf: Base64.encode((signature ?? [])[...]).utf8)
    lines.append(contentsOf: AuditCheckpoint.signatureEnd)
    close(from: start, &lines)
  }

  private mutating func append(_ time: [UInt8], _ tail: ArraySlice<UInt8>, to lines: inout [UInt8]) {
    let start = lines.count
    open(time, to: &lines)
    lines.append(contentsOf: tail)
    close(from: start, &lines)
  }

  /// Bytes before `"event"`, at most: time, number, hash and a count of what was lost.
  private static let openingBytes = 180

  private func open(_ time: [UInt8], to lines: inout [UInt8]) {
    lines.append(contentsOf: AuditChain.beforeTime)
    lines.append(contentsOf: time)
    lines.append(contentsOf: AuditChain.beforeSeq)
    AuditChain.append(decimal: head.seq + 1, to: &lines)
    lines.append(contentsOf: AuditChain.beforePrev)
    lines.append(contentsOf: head.hash)
    lines.append(contentsOf: AuditChain.afterPrev)
    if lost > 0 {
      lines.append(contentsOf: AuditChain.beforeLost)
      AuditChain.append(decimal: UInt64(lost), to: &lines)
      lines.append(UInt8(ascii: ","))
    }
  }

  private mutating func close(from start: Int, _ lines: inout [UInt8]) {
    let hash = unsafe lines.withUnsafeBytes { all in
      unsafe SHA256.hash(UnsafeRawBufferPointer(rebasing: all[start...]))
    }
    head = AuditHead(seq: head.seq + 1, hash: AuditChain.hex(hash))
    lost = 0
    lines.append(UInt8(ascii: "\n"))
  }

  static let beforeTime = Array(#"{"time":""#.utf8)
  static let beforeSeq = Array(#"","seq":"#.utf8)
  static let beforePrev = Array(#","prev":""#.utf8)
  static let afterPrev = Array(#"","#.utf8)
  static let beforeLost = Array(#""lost":"#.utf8)

  private static func append(decimal value: UInt64, to lines: inout [UInt8]) {
    guard value >= 10 else { return lines.append(UInt8(ascii: "0") + UInt8(value)) }
    append(decimal: value / 10, to: &lines)
    lines.append(UInt8(ascii: "0") + UInt8(value % 10))
  }

  private static let digits = Array("0123456789abcdef".utf8)

  static func hex(_ bytes: [UInt8]) -> [UInt8] {
    var text: [UInt8] = []
    text.reserveCapacity(2 * bytes.count)
    for byte in bytes {
      text.append(digits[Int(byte >> 4)])
      text.append(digits[Int(byte & 15)])
    }
    return text
  }
}

/// The form of a checkpoint's signature.
enum AuditCheckpoint {
  static let signatureOpening = Array(#","signature":""#.utf8)
  static let signatureEnd = Array(#""}"#.utf8)

  /// What is signed: never mistaken for anything else that the same key signs.
  static func signedBytes(_ line: [UInt8]) -> [UInt8] { Array("meshrelay audit checkpoint 1\n".utf8) + line }
}
