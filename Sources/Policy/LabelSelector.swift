// Label selectors as Kubernetes writes them: comma-separated requirements that must all hold.
// Source: Kubernetes, "Labels and Selectors", API section; label syntax from the same page.

/// One `Requirement` a comma. Matches sets of labels; never knows where they come from.
public struct LabelSelector: Hashable, Sendable, CustomStringConvertible {
  /// At least one, sorted by their text, each once.
  public let requirements: [Requirement]

  public struct Requirement: Hashable, Sendable, CustomStringConvertible {
    public enum Condition: Hashable, Sendable {
      case exists
      case absent
      /// Has the key with one of these values, sorted; `=` is a set of one.
      case isOne([String])
      /// Has not the key, or with another value.
      case isNone([String])
    }

    public let key: String
    public let condition: Condition

    init(_ key: String, _ condition: Condition) {
      self.key = key
      self.condition = condition
    }

    /// `value`: that of the key, nil without it.
    public func holds(for value: String?) -> Bool {
      switch condition {
      case .exists: value != nil
      case .absent: value == nil
      case .isOne(let values): value.map { Requirement.has(values, $0) } ?? false
      case .isNone(let values): value.map { !Requirement.has(values, $0) } ?? true
      }
    }

    public var description: String {
      switch condition {
      case .exists: key
      case .absent: "!" + key
      // A set of one empty value has no set form.
      case .isOne(let values) where values.count == 1: key + "=" + values[0]
      case .isNone(let values) where values.count == 1: key + "!=" + values[0]
      case .isOne(let values): "\(key) in (\(values.joined(separator: ",")))"
      case .isNone(let values): "\(key) notin (\(values.joined(separator: ",")))"
      }
    }

    /// As bytes: a foreign label that is only canonically equivalent is another label.
    private static func has(_ values: [String], _ value: String) -> Bool {
      values.contains { $0.utf8.elementsEqual(value.utf8) }
    }
  }

  public init(parsing text: String) throws(LabelSelectorFault) {
    var parser = LabelSelectorParser(text)
    let requirements = try parser.requirements()
    self.requirements = Set(requirements).sorted { $0.description < $1.description }
  }

  /// All of these; nil when there are none.
  init?(_ requirements: some Sequence<Requirement>) {
    self.requirements = Set(requirements).sorted { $0.description < $1.description }
    if self.requirements.isEmpty { return nil }
  }

  public func matches(_ labels: [(key: String, value: String)]) -> Bool {
    requirements.allSatisfy { requirement in
      requirement.holds(for: labels.first { $0.key.utf8.elementsEqual(requirement.key.utf8) }?.value)
    }
  }

  public var description: String { requirements.map(\.description).joined(separator: ",") }
}

/// Why a text is no selector, with the offset in characters from its start.
public struct LabelSelectorFault: Error, Equatable, Sendable {
  public let what: String
  public let offset: Int
}

/// Recursive descent over characters; no nesting, so no depth.
private struct LabelSelectorParser {
  private let characters: [Unicode.Scalar]
  private var next = 0

  init(_ text: String) { characters = Array(text.unicodeScalars) }

  mutating func requirements() throws(LabelSelectorFault) -> [LabelSelector.Requirement] {
    var found: [LabelSelector.Requirement] = []
    while true {
      found.append(try requirement())
      skipSpace()
      guard next < characters.count else { return found }
      try expect(",", "between requirements")
    }
  }

  private mutating func requirement() throws(LabelSelectorFault) -> LabelSelector.Requirement {
    skipSpace()
    if accept("!") { return LabelSelector.Requirement(try key(), .absent) }
    let key = try key()
    skipSpace()
    if accept("!") {
      guard accept("=") else { throw fault("! after a key must be !=") }
      return LabelSelector.Requirement(key, .isNone([try value()]))
    }
    if accept("=") {
      _ = accept("=")
      return LabelSelector.Requirement(key, .isOne([try value()]))
    }
    if next >= characters.count || characters[next] == "," { return LabelSelector.Requirement(key, .exists) }
    let start = next
    switch word() {
    case "in": return LabelSelector.Requirement(key, .isOne(try values()))
    case "notin": return LabelSelector.Requirement(key, .isNone(try values()))
    default:
      next = start
      throw fault("expected =, ==, !=, in, notin or a comma")
    }
  }

  /// `(a,b)`; sorted, each once. An empty item means the empty value.
  private mutating func values() throws(LabelSelectorFault) -> [String] {
    skipSpace()
    try expect("(", "before the values")
    skipSpace()
    if accept(")") { throw fault("a set needs a value") }
    var values: Set<String> = []
    while true {
      values.insert(try value())
      skipSpace()
      if accept(")") { return values.sorted() }
      try expect(",", "or ) after a value")
    }
  }

  /// `name` or `prefix/name`.
  private mutating func key() throws(LabelSelectorFault) -> String {
    skipSpace()
    let start = next
    let text = word()
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    let isPrefixed = parts.count == 2
    let prefixIsSound = !isPrefixed || LabelSelectorParser.isSubdomain(parts[0])
    guard parts.count <= 2, prefixIsSound, let name = parts.last, !name.isEmpty,
      LabelSelectorParser.isLabelText(name)
    else {
      next = start
      throw fault(text.isEmpty ? "expected a label key" : "\"\(text.prefix(60))\" is no label key")
    }
    return text
  }

  private mutating func value() throws(LabelSelectorFault) -> String {
    skipSpace()
    let start = next
    let text = word()
    guard LabelSelectorParser.isLabelText(text[...]) else {
      next = start
      throw fault("\"\(text.prefix(60))\" is no label value")
    }
    return text
  }

  // MARK: Characters

  private mutating func word() -> String {
    var word = String.UnicodeScalarView()
    while next < characters.count, !LabelSelectorParser.endsWord(characters[next]) {
      word.append(characters[next])
      next += 1
    }
    return String(word)
  }

  private mutating func skipSpace() {
    while next < characters.count, characters[next] == " " { next += 1 }
  }

  private mutating func accept(_ scalar: Unicode.Scalar) -> Bool {
    guard next < characters.count, characters[next] == scalar else { return false }
    next += 1
    return true
  }

  private mutating func expect(_ scalar: Unicode.Scalar, _ place: String) throws(LabelSelectorFault) {
    guard accept(scalar) else { throw fault("expected \(scalar) \(place)") }
  }

  private func fault(_ what: String) -> LabelSelectorFault { LabelSelectorFault(what: what, offset: next) }

  private static func endsWord(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar {
    case " ", ",", "(", ")", "=", "!", "<", ">": true
    default: false
    }
  }

  /// At most 63 of `A-Z a-z 0-9 - _ .`, letters or digits at both ends; or empty.
  private static func isLabelText(_ text: Substring) -> Bool {
    let bytes = Array(text.utf8)
    guard let first = bytes.first, let last = bytes.last else { return true }
    return bytes.count <= 63 && isAlphanumeric(first) && isAlphanumeric(last)
      && bytes.allSatisfy { isAlphanumeric($0) || "-_.".utf8.contains($0) }
  }

  private static func isSubdomain(_ text: Substring) -> Bool {
    !text.isEmpty && text.utf8.count <= 253
      && text.split(separator: ".", omittingEmptySubsequences: false).allSatisfy { label in
        !label.isEmpty && isLabelText(label)
          && label.utf8.allSatisfy { !"ABCDEFGHIJKLMNOPQRSTUVWXYZ_".utf8.contains($0) }
      }
  }

  private static func isAlphanumeric(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"):
      true
    default: false
    }
  }
}
