// A manifest's content as Kubernetes sees it: YAML read by YAML 1.1 rules and turned into JSON's six
// kinds of value, each with its place in the file. The same file must mean the same to us and to
// `kubectl apply`: `on` is a boolean, `0x1F` a number, a key `8080` the text "8080".
//
// Source: YAML 1.1 (types bool, int, float, null, merge) as Kubernetes' YAML reader applies them.

import Documents

/// One value and where it stands.
struct ManifestValue: Sendable {
  let position: SourcePosition
  let content: Content

  indirect enum Content: Sendable {
    case null
    /// `written` is the text in the file: `yes` for true.
    case bool(Bool, written: String)
    case number(ManifestNumber, written: String)
    case string(String)
    case sequence([ManifestValue])
    /// In file order, no key twice.
    case mapping([ManifestEntry])
  }

  var isNull: Bool {
    if case .null = content { true } else { false }
  }

  /// The entries of a mapping; nil for any other value.
  var entries: [ManifestEntry]? {
    if case .mapping(let entries) = content { entries } else { nil }
  }

  subscript(key: String) -> ManifestValue? { entries?.first { $0.key == key }?.value }

  /// What the value is, for messages: `the number 80`.
  var described: String {
    switch content {
    case .null: "null"
    case .bool(_, let written): "the boolean \(written)"
    case .number(_, let written): "the number \(written)"
    case .string(let text): "the text \"\(excerpt(text))\""
    case .sequence: "a list"
    case .mapping: "an object"
    }
  }
}

extension ManifestValue {
  /// Types the scalars of `node`; what JSON cannot say is added to `problems`.
  init(_ node: Node, problems: inout [Problem]) {
    position = node.position
    switch node.content {
    case .sequence(let elements):
      content = .sequence(elements.map { ManifestValue($0, problems: &problems) })
    case .mapping(let entries):
      content = .mapping(
        entries.map {
          ManifestEntry(
            key: Self.key($0), position: $0.position, value: ManifestValue($0.value, problems: &problems))
        })
    case .scalar(let scalar):
      content = Self.content(scalar, at: node.position, problems: &problems)
    }
  }

  private static let tagPrefix = "tag:yaml.org,2002:"

  private static func content(
    _ scalar: Node.Scalar, at position: SourcePosition, problems: inout [Problem]
  ) -> Content {
    switch scalar.tag {
    case nil: return scalar.isQuoted ? .string(scalar.text) : PlainScalar.content(of: scalar.text)
    case tagPrefix + "str", tagPrefix + "timestamp", "!": return .string(scalar.text)
    case tagPrefix + "int", tagPrefix + "float", tagPrefix + "bool", tagPrefix + "null":
      return PlainScalar.content(of: scalar.text)
    case let tag?:
      problems.append(
        Problem(
          position, "the tag \(Problem.quote(tag)) is not used in manifests", why: "JSON has no such type",
          howToFix: "remove the tag"))
      return .string(scalar.text)
    }
  }

  /// Keys are text in JSON: a plain `0x10` names what "16" names, a plain `on` what "true" names.
  private static func key(_ entry: Node.Entry) -> String {
    guard let scalar = entry.keyNode.scalar, !scalar.isQuoted else { return entry.key }
    return switch PlainScalar.content(of: scalar.text) {
    case .bool(let flag, _): flag ? "true" : "false"
    case .number(.signed(let number), _): String(number)
    case .number(.unsigned(let number), _): String(number)
    case .null, .number(.real, _), .string, .sequence, .mapping: entry.key
    }
  }
}

struct ManifestEntry: Sendable {
  let key: String
  /// Where the key stands.
  let position: SourcePosition
  let value: ManifestValue
}

/// A number as JSON has it, without loss for 64-bit integers.
enum ManifestNumber: Sendable, Equatable {
  case signed(Int64)
  /// Above Int64.max only.
  case unsigned(UInt64)
  case real(Double)

  var double: Double {
    switch self {
    case .signed(let value): Double(value)
    case .unsigned(let value): Double(value)
    case .real(let value): value
    }
  }
}

/// Foreign text cut to a length that fits a message.
func excerpt(_ text: String) -> String { text.count <= 64 ? text : String(text.prefix(61)) + "…" }

/// Plain scalars (those without quotes) by YAML 1.1's rules.
enum PlainScalar {
  static func content(of text: String) -> ManifestValue.Content {
    switch text {
    case "", "~", "null", "Null", "NULL": return .null
    case "y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "true", "True", "TRUE":
      return .bool(true, written: text)
    case "n", "N", "no", "No", "NO", "off", "Off", "OFF", "false", "False", "FALSE":
      return .bool(false, written: text)
    case ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF": return .number(.real(.infinity), written: text)
    case "-.inf", "-.Inf", "-.INF": return .number(.real(-.infinity), written: text)
    case ".nan", ".NaN", ".NAN": return .number(.real(.nan), written: text)
    default: break
    }
    guard let number = number(text) else { return .string(text) }
    return .number(number, written: text)
  }

  /// Integers in base 10, 16 (`0x`), 8 (`0o` or a leading 0) and 2 (`0b`), with `_` between digits;
  /// decimal fractions with an exponent. Nil for anything else.
  static func number(_ text: String) -> ManifestNumber? {
    guard let first = text.utf8.first, isNumberStart(first) else { return nil }
    let plain = text.utf8.contains(UInt8(ascii: "_")) ? text.filter { $0 != "_" } : text
    return integer(plain) ?? decimalFraction(plain).map { .real($0) }
  }

  private static func isNumberStart(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: "."): true
    default: false
    }
  }

  private static func integer(_ text: String) -> ManifestNumber? {
    let isNegative = text.hasPrefix("-")
    var digits = Substring(text)
    if isNegative || text.hasPrefix("+") { digits = digits.dropFirst() }
    var radix = 10
    if digits.utf8.count > 1, digits.utf8.first == UInt8(ascii: "0") {
      switch digits.utf8.dropFirst().first {
      case UInt8(ascii: "x"), UInt8(ascii: "X"): (radix, digits) = (16, digits.dropFirst(2))
      case UInt8(ascii: "b"), UInt8(ascii: "B"): (radix, digits) = (2, digits.dropFirst(2))
      case UInt8(ascii: "o"), UInt8(ascii: "O"): (radix, digits) = (8, digits.dropFirst(2))
      default: (radix, digits) = (8, digits.dropFirst())
      }
    }
    guard digits.utf8.first != UInt8(ascii: "+"), digits.utf8.first != UInt8(ascii: "-"),
      let magnitude = UInt64(digits, radix: radix)
    else { return nil }
    if !isNegative { return Int64(exactly: magnitude).map { .signed($0) } ?? .unsigned(magnitude) }
    if magnitude == Int64.min.magnitude { return .signed(.min) }
    return Int64(exactly: magnitude).map { .signed(-$0) }
  }

  /// `[-+]?(\.d+|d+(\.d*)?)([eE][-+]?d+)?`
  static func decimalFraction(_ text: String) -> Double? {
    var rest = Substring(text).utf8
    func dropDigits() -> Int {
      let digits = rest.prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }.count
      rest = rest.dropFirst(digits)
      return digits
    }
    func dropSign() {
      if rest.first == UInt8(ascii: "-") || rest.first == UInt8(ascii: "+") { rest = rest.dropFirst() }
    }
    dropSign()
    let whole = dropDigits()
    if rest.first == UInt8(ascii: ".") {
      rest = rest.dropFirst()
      if dropDigits() == 0, whole == 0 { return nil }
    } else if whole == 0 {
      return nil
    }
    if rest.first == UInt8(ascii: "e") || rest.first == UInt8(ascii: "E") {
      rest = rest.dropFirst()
      dropSign()
      if dropDigits() == 0 { return nil }
    }
    guard rest.isEmpty, let value = Double(text), value.isFinite else { return nil }
    return value
  }
}
