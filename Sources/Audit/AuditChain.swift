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

  /// Adds the lines of a batch to `lines`. `pieces`: what the numbers of the batch's maker mean, kept from batch to
  /// batch.
  public mutating func append(_ batch: AuditBatch, _ pieces: inout KnownPieces, to lines: inout [UInt8]) {
    // Its time comes with the first record.
    var opening = LineOpening(time: batch.time ?? Timestamp(seconds: 0), after: head)
    var hasher = LineHasher()
    lines.reserveCapacity(lines.count + batch.byteCount + batch.count * (opening.bytes.count + 16))
    var start = 0
    for entry in batch.entries {
      let line = lines.count
      switch entry {
      case .definition(let place, let number):
        pieces.define(batch.definitions[place], as: number)
        continue
      case .time(let place):
        opening = LineOpening(time: batch.times[place], after: opening.head)
        continue
      case .whole(let end):
        lines.append(contentsOf: opening.bytes)
        appendLost(to: &lines)
        lines.append(contentsOf: batch.bytes[start..<end])
        start = end
      case .pieced(let event, let who, let what):
        lines.append(contentsOf: opening.bytes)
        appendLost(to: &lines)
        lines.append(contentsOf: AuditChain.opening(event))
        pieces.append(who, to: &lines)
        pieces.append(what, to: &lines)
        lines.append(UInt8(ascii: "}"))
      }
      hasher.hash(lines, from: line)
      opening.follow(hasher.digest)
      lines.append(UInt8(ascii: "\n"))
    }
    head = opening.head
  }

  private static let deliver = AuditBatch.opening(.deliver)
  private static let ack = AuditBatch.opening(.ack)

  private static func opening(_ event: AuditRecord.Event) -> [UInt8] {
    switch event {
    case .deliver: deliver
    case .ack: ack
    default: AuditBatch.opening(event)
    }
  }

  public mutating func append(_ record: AuditRecord, at time: Timestamp, to lines: inout [UInt8]) {
    var none = KnownPieces()
    append(AuditBatch(record, at: time), &none, to: &lines)
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
    lines.append(contentsOf: LineOpening(time: time, after: head).bytes)
    appendLost(to: &lines)
    lines.append(contentsOf: tail)
    // Everything of the line up to here is signed, and by its `prev` every line before it.
    let signature = sign(AuditCheckpoint.signedBytes(Array(lines[start...])))
    lines.append(contentsOf: AuditCheckpoint.signatureOpening)
    lines.append(contentsOf: Base64.encode((signature ?? [])[...]).utf8)
    lines.append(contentsOf: AuditCheckpoint.signatureEnd)
    var hasher = LineHasher()
    hasher.hash(lines, from: start)
    head = AuditHead(seq: head.seq + 1, hash: LineHasher.digits(of: hasher.digest))
    lines.append(UInt8(ascii: "\n"))
  }

  private mutating func appendLost(to lines: inout [UInt8]) {
    guard lost > 0 else { return }
    lines.append(contentsOf: AuditChain.beforeLost)
    lines.append(contentsOf: String(lost).utf8)
    lines.append(UInt8(ascii: ","))
    lost = 0
  }

  static let beforeTime = Array(#"{"time":""#.utf8)
  static let beforeSeq = Array(#"","seq":"#.utf8)
  static let beforePrev = Array(#","prev":""#.utf8)
  static let afterPrev = Array(#"","#.utf8)
  static let beforeLost = Array(#""lost":"#.utf8)
}

/// What stands before `"event"`: time, number and the hash of the line before. From line to line only the digits
/// change, in place.
private struct LineOpening {
  private(set) var bytes: [UInt8] = []
  private let time: Timestamp
  private var seq: UInt64
  /// Where the digits of the number and of the hash stand.
  private var number = 0..<0
  private var hash = 0

  init(time: Timestamp, after head: AuditHead) {
    self.time = time
    seq = head.seq
    write(after: head.hash[...])
  }

  /// The newest line.
  var head: AuditHead { AuditHead(seq: seq, hash: Array(bytes[hash..<(hash + AuditHead.digits)])) }

  private mutating func write(after previous: ArraySlice<UInt8>) {
    bytes = AuditChain.beforeTime + Array(time.rfc3339.utf8) + AuditChain.beforeSeq
    let digits = Array(String(seq + 1).utf8)
    number = bytes.count..<(bytes.count + digits.count)
    bytes += digits + AuditChain.beforePrev
    hash = bytes.count
    bytes += previous + AuditChain.afterPrev
  }

  /// A line with this digest was written: the next one follows it.
  mutating func follow(_ digest: [UInt8]) {
    seq += 1
    LineHasher.write(digest, to: &bytes, at: hash)
    for place in number.reversed() {
      guard bytes[place] == UInt8(ascii: "9") else {
        bytes[place] += 1
        return
      }
      bytes[place] = UInt8(ascii: "0")
    }
    // Only nines: one digit more.
    write(after: bytes[hash..<(hash + AuditHead.digits)])
  }
}

/// Hashes many lines without an allocation for each.
struct LineHasher {
  private var stream = SHA256Stream()
  /// Of the line hashed last.
  private(set) var digest = [UInt8](repeating: 0, count: SHA256.byteCount)

  /// Hashes `lines` from `start` to its end.
  mutating func hash(_ lines: [UInt8], from start: Int) {
    unsafe lines.withUnsafeBytes { unsafe stream.update(UnsafeRawBufferPointer(rebasing: $0[start...])) }
    stream.finish(into: &digest)
  }

  static func digits(of digest: [UInt8]) -> [UInt8] {
    var text = [UInt8](repeating: 0, count: 2 * digest.count)
    write(digest, to: &text, at: 0)
    return text
  }

  /// Writes hexadecimal digits over what is there.
  static func write(_ digest: [UInt8], to text: inout [UInt8], at start: Int) {
    precondition(start >= 0 && start + 2 * digest.count <= text.count, "digits go where digits stood")
    unsafe text.withUnsafeMutableBufferPointer { text in
      for (index, byte) in digest.enumerated() {
        unsafe text[start &+ 2 &* index] = digit(byte &>> 4)
        unsafe text[start &+ 2 &* index &+ 1] = digit(byte & 15)
      }
    }
  }

  /// Of four bits. Without a branch: nothing can predict a digest.
  private static func digit(_ value: UInt8) -> UInt8 {
    UInt8(ascii: "0") &+ value &+ ((value &+ 6) &>> 4) &* (UInt8(ascii: "a") - UInt8(ascii: "0") - 10)
  }
}

/// The form of a checkpoint's signature.
enum AuditCheckpoint {
  static let signatureOpening = Array(#","signature":""#.utf8)
  static let signatureEnd = Array(#""}"#.utf8)

  /// What is signed: never mistaken for anything else that the same key signs.
  static func signedBytes(_ line: [UInt8]) -> [UInt8] { Array("meshrelay audit checkpoint 1\n".utf8) + line }
}
