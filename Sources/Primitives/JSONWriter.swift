// JSON as a stream of bytes: for status, audit and console output. Keys come out in the order they are written.

/// Appends one JSON document to a byte array. Misuse (a key outside an object) traps: our own bug.
public struct JSONWriter {
  public private(set) var bytes: [UInt8] = []
  private var needsComma: [Bool] = [false]

  public init() {}

  public var text: String { String(decoding: bytes, as: UTF8.self) }

  public mutating func object(_ body: (inout JSONWriter) -> Void) { nest("{", "}", body) }
  public mutating func array(_ body: (inout JSONWriter) -> Void) { nest("[", "]", body) }

  public mutating func key(_ name: String) {
    separate()
    escape(name)
    bytes.append(UInt8(ascii: ":"))
    needsComma[needsComma.count - 1] = false
  }

  public mutating func string(_ value: String) {
    separate()
    escape(value)
  }

  public mutating func integer(_ value: Int64) { raw(String(value)) }
  public mutating func integer(_ value: Int) { raw(String(value)) }
  public mutating func boolean(_ value: Bool) { raw(value ? "true" : "false") }
  public mutating func null() { raw("null") }

  /// Finite numbers as the shortest text that reads back equal; others as null, which JSON has no word for.
  public mutating func number(_ value: Double) { raw(value.isFinite ? "\(value)" : "null") }

  public mutating func field(_ name: String, _ value: String?) {
    key(name)
    if let value { string(value) } else { null() }
  }
  public mutating func field(_ name: String, _ value: Int) {
    key(name)
    integer(value)
  }
  public mutating func field(_ name: String, _ value: Int64) {
    key(name)
    integer(value)
  }
  public mutating func field(_ name: String, _ value: Bool) {
    key(name)
    boolean(value)
  }
  public mutating func field(_ name: String, _ value: Double) {
    key(name)
    number(value)
  }
  public mutating func field(_ name: String, object body: (inout JSONWriter) -> Void) {
    key(name)
    object(body)
  }
  public mutating func field(_ name: String, array body: (inout JSONWriter) -> Void) {
    key(name)
    array(body)
  }
  public mutating func field(_ name: String, strings: some Sequence<String>) {
    key(name)
    array { writer in for value in strings { writer.string(value) } }
  }

  /// A value that is JSON already.
  public mutating func raw(_ json: String) {
    separate()
    bytes.append(contentsOf: json.utf8)
  }

  private mutating func nest(_ open: Character, _ close: Character, _ body: (inout JSONWriter) -> Void) {
    separate()
    bytes.append(contentsOf: String(open).utf8)
    needsComma.append(false)
    body(&self)
    needsComma.removeLast()
    bytes.append(contentsOf: String(close).utf8)
  }

  private mutating func separate() {
    if needsComma[needsComma.count - 1] { bytes.append(UInt8(ascii: ",")) }
    needsComma[needsComma.count - 1] = true
  }

  private mutating func escape(_ value: String) {
    bytes.append(UInt8(ascii: "\""))
    // Names and versions, which is nearly everything, are copied as they are.
    if value.utf8.allSatisfy(JSONWriter.isPlain) {
      bytes.append(contentsOf: value.utf8)
    } else {
      escapeScalars(of: value)
    }
    bytes.append(UInt8(ascii: "\""))
  }

  /// Printable ASCII that JSON lets stand.
  private static func isPlain(_ byte: UInt8) -> Bool {
    (0x20...0x7E).contains(byte) && byte != UInt8(ascii: "\"") && byte != UInt8(ascii: "\\")
  }

  private mutating func escapeScalars(of value: String) {
    for scalar in value.unicodeScalars {
      switch scalar {
      case "\"": bytes.append(contentsOf: "\\\"".utf8)
      case "\\": bytes.append(contentsOf: "\\\\".utf8)
      case "\n": bytes.append(contentsOf: "\\n".utf8)
      case "\r": bytes.append(contentsOf: "\\r".utf8)
      case "\t": bytes.append(contentsOf: "\\t".utf8)
      // Beside what JSON forbids bare: what terminals obey (C1), and what YAML readers, to whom JSON is YAML,
      // take for a line break or refuse.
      case "\0"..."\u{1F}", "\u{7F}"..."\u{9F}", "\u{2028}", "\u{2029}", "\u{FEFF}", "\u{FFFE}", "\u{FFFF}":
        escape(codeUnit: scalar.value)
      default: bytes.append(contentsOf: scalar.utf8)
      }
    }
  }

  /// `\u` and four digits; `value` < 2^16.
  private mutating func escape(codeUnit value: UInt32) {
    let digits = Array("0123456789abcdef".utf8)
    bytes.append(contentsOf: "\\u".utf8)
    for shift: UInt32 in [12, 8, 4, 0] { bytes.append(digits[Int(value >> shift & 15)]) }
  }
}
