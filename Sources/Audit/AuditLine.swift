// One line read back: its place in the chain, and the fields that verifying needs. Strict: what `AuditChain` would
// not have written is no line. The file may have been edited by anybody, so nothing here trusts it.

internal import Digest
public import Primitives

/// A line without its newline.
public struct AuditLine: Sendable {
  public let time: Timestamp
  public let seq: UInt64
  /// 64 digits.
  public let prev: [UInt8]
  /// Records that were lost before this one.
  public let lost: UInt64
  /// A word of the contract. Unknown ones are refused: a changed `checkpoint` would hide its signature.
  public let event: String
  /// The hash that the next line has to name.
  public let hash: [UInt8]
  let reason: String?
  let certificates: [String]
  let signature: String?
  /// Bytes before the signature.
  let unsigned: ArraySlice<UInt8>

  /// Longest line that is written. Reason: three lists of 100 names of 320 bytes, escapes included.
  public static let bytesMost = 1024 * 1024

  /// Nil when `bytes` is no line of an audit log.
  public init?(_ bytes: ArraySlice<UInt8>) {
    var scan = LineScan(bytes)
    guard scan.take(AuditChain.beforeTime), let timeText = scan.string(),
      let time = Timestamp(rfc3339: timeText), scan.take(Array(#","seq":"#.utf8)), let seq = scan.number(),
      seq > 0, scan.take(Array(#","prev":""#.utf8)), let prev = scan.string(), AuditLine.isHash(prev),
      scan.take(UInt8(ascii: ","))
    else { return nil }
    // A time has one spelling, as everything else.
    guard time.rfc3339 == timeText else { return nil }
    var lost: UInt64 = 0
    if scan.take(AuditChain.beforeLost) {
      guard let count = scan.number(), count > 0, scan.take(UInt8(ascii: ",")) else { return nil }
      lost = count
    }
    guard scan.take(Array(#""event":""#.utf8)), let event = scan.string(),
      AuditRecord.Event(rawValue: event) != nil
    else { return nil }
    guard let rest = AuditLine.rest(&scan) else { return nil }
    self.time = time
    self.seq = seq
    self.prev = Array(prev.utf8)
    self.lost = lost
    self.event = event
    reason = rest.reason
    certificates = rest.certificates
    signature = rest.signature
    unsigned = bytes[..<(rest.signatureStart ?? bytes.endIndex)]
    hash = LineHasher.digits(of: unsafe bytes.withUnsafeBytes { unsafe SHA256.hash($0) })
  }

  private struct Rest {
    var reason: String?
    var certificates: [String] = []
    var signature: String?
    var signatureStart: Int?
  }

  /// The fields after the event, up to the brace that must end the line.
  private static func rest(_ scan: inout LineScan) -> Rest? {
    var rest = Rest()
    while !scan.take(UInt8(ascii: "}")) {
      let start = scan.position
      guard scan.take(UInt8(ascii: ",")), scan.take(UInt8(ascii: "\"")), let key = scan.string(),
        scan.take(UInt8(ascii: ":")), let value = scan.value()
      else { return nil }
      switch (key, value) {
      case ("reason", .string(let text)): rest.reason = text
      case ("certificates", .strings(let list)): rest.certificates = list
      case ("signature", .string(let text)):
        rest.signature = text
        rest.signatureStart = start
      default: break
      }
    }
    return scan.isAtEnd ? rest : nil
  }

  private static func isHash(_ text: String) -> Bool {
    text.utf8.count == AuditHead.digits
      && text.utf8.allSatisfy { byte in
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
          || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte)
      }
  }

  /// Names and values of a line in its order, for who passes it on; without lists and the signature. What is no
  /// line has as many as can be read.
  public static func fields(of bytes: ArraySlice<UInt8>) -> [(name: String, value: String)] {
    var scan = LineScan(bytes)
    var fields: [(name: String, value: String)] = []
    var opening = UInt8(ascii: "{")
    while scan.take(opening), scan.take(UInt8(ascii: "\"")), let name = scan.string(),
      scan.take(UInt8(ascii: ":")), let value = scan.value()
    {
      opening = UInt8(ascii: ",")
      switch value {
      case .string(let text): if name != "signature" { fields.append((name, text)) }
      case .number(let number): fields.append((name, String(number)))
      case .strings: break
      }
    }
    return fields
  }

  /// The place after this line.
  public var head: AuditHead { AuditHead(seq: seq, hash: hash) }
}

/// Reads the JSON of a line from left to right: strings, whole numbers, lists of strings, without any space.
private struct LineScan {
  enum Value {
    case string(String)
    case number(UInt64)
    case strings([String])
  }

  private let bytes: ArraySlice<UInt8>
  private(set) var position: Int

  init(_ bytes: ArraySlice<UInt8>) {
    self.bytes = bytes
    position = bytes.startIndex
  }

  var isAtEnd: Bool { position == bytes.endIndex }

  mutating func take(_ byte: UInt8) -> Bool {
    guard position < bytes.endIndex, bytes[position] == byte else { return false }
    position += 1
    return true
  }

  mutating func take(_ word: [UInt8]) -> Bool {
    guard bytes.endIndex - position >= word.count else { return false }
    guard bytes[position..<position + word.count].elementsEqual(word) else { return false }
    position += word.count
    return true
  }

  /// At most 18 digits, so that no sum can overflow; no zero in front.
  mutating func number() -> UInt64? {
    let start = position
    var value: UInt64 = 0
    while position < bytes.endIndex, (48...57).contains(bytes[position]), position - start < 20 {
      let (product, overflow) = value.multipliedReportingOverflow(by: 10)
      let (sum, carried) = product.addingReportingOverflow(UInt64(bytes[position] - 48))
      guard !overflow, !carried else { return nil }
      value = sum
      position += 1
    }
    guard position > start, bytes[start] != UInt8(ascii: "0") || position == start + 1 else { return nil }
    return value
  }

  /// What follows an opening quote, up to and with the closing one.
  mutating func string() -> String? {
    let start = position
    var isPlain = true
    while position < bytes.endIndex {
      let byte = bytes[position]
      if byte == UInt8(ascii: "\"") {
        defer { position += 1 }
        let text = bytes[start..<position]
        return isPlain ? String(validating: text, as: UTF8.self) : LineScan.unescaped(text)
      }
      guard byte >= 0x20, byte != 0x7F else { return nil }
      if byte == UInt8(ascii: "\\") {
        isPlain = false
        position += 1
      }
      position += 1
    }
    return nil
  }

  private static func unescaped(_ text: ArraySlice<UInt8>) -> String? {
    var result: [UInt8] = []
    var index = text.startIndex
    while index < text.endIndex {
      guard text[index] == UInt8(ascii: "\\") else {
        result.append(text[index])
        index += 1
        continue
      }
      guard index + 1 < text.endIndex else { return nil }
      switch text[index + 1] {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"): result.append(text[index + 1])
      case UInt8(ascii: "n"): result.append(UInt8(ascii: "\n"))
      case UInt8(ascii: "r"): result.append(UInt8(ascii: "\r"))
      case UInt8(ascii: "t"): result.append(UInt8(ascii: "\t"))
      case UInt8(ascii: "u"):
        guard index + 6 <= text.endIndex,
          let digits = String(validating: text[(index + 2)..<(index + 6)], as: UTF8.self),
          let code = UInt32(digits, radix: 16), let scalar = Unicode.Scalar(code)
        else { return nil }
        result.append(contentsOf: String(Character(scalar)).utf8)
        index += 4
      default: return nil
      }
      index += 2
    }
    return String(validating: result, as: UTF8.self)
  }

  mutating func value() -> Value? {
    if take(UInt8(ascii: "\"")) { return string().map { .string($0) } }
    guard take(UInt8(ascii: "[")) else { return number().map { .number($0) } }
    var list: [String] = []
    if take(UInt8(ascii: "]")) { return .strings([]) }
    repeat {
      guard take(UInt8(ascii: "\"")), let text = string() else { return nil }
      list.append(text)
    } while take(UInt8(ascii: ","))
    return take(UInt8(ascii: "]")) ? .strings(list) : nil
  }
}
