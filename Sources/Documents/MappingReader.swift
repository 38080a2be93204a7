// Typed reading of one mapping of a configuration-like document.
//
// The code that reads is the schema: every key it asks for is known, and when it is done the keys nobody
// asked for are reported with the nearest known one. Problems are collected, never thrown: one run of
// `check` shows all of them. Typing is strict: true and false are the only booleans.
// Must never put a value into a problem unquoted by `Problem.quote`: it may be a secret.

/// Reads the keys of one mapping, each at most once. Use it through `read` or its nesting methods, which
/// also report unknown keys.
public final class MappingReader {
  /// Where the mapping stands.
  public let position: SourcePosition
  /// The keys that lead here, `identity.files`; empty for the document itself.
  public let path: String
  public let problems: ProblemList
  private let entries: [Node.Entry]
  private var known: [String] = []

  private init(_ entries: [Node.Entry], at position: SourcePosition, path: String, _ problems: ProblemList) {
    self.entries = entries
    self.position = position
    self.path = path
    self.problems = problems
  }

  /// Gives `body` a reader for `node`. Nil, with a problem, when that is no mapping.
  public static func read<Value>(
    _ node: Node, path: String = "", problems: ProblemList, _ body: (MappingReader) -> Value?
  ) -> Value? {
    read(node, path: path, calledIfNone: path.isEmpty ? "the document" : path, problems, body)
  }

  private static func read<Value>(
    _ node: Node, path: String, calledIfNone name: String, _ problems: ProblemList,
    _ body: (MappingReader) -> Value?
  ) -> Value? {
    guard let entries = node.mapping else {
      problems.report(node.position, "\(name) must be a mapping, not \(node.kindName)")
      return nil
    }
    let reader = MappingReader(entries, at: node.position, path: path, problems)
    let value = body(reader)
    reader.reportUnknownKeys()
    return value
  }

  /// `identity.files.svid` for `svid`.
  public func name(_ key: String) -> String { path.isEmpty ? key : "\(path).\(key)" }

  /// The entry of a key, whatever its value; the key is known from now on.
  public func entry(_ key: String) -> Node.Entry? {
    if !known.contains(key) { known.append(key) }
    return entries.first { $0.key == key }
  }

  /// The value of a key. Nil when absent, and with a problem when nothing stands after the colon.
  public func node(_ key: String, required: Bool = false) -> Node? {
    guard let entry = entry(key) else {
      if required {
        let place = path.isEmpty ? "" : " in \(path)"
        problems.report(position, "the key \"\(key)\" is missing\(place)")
      }
      return nil
    }
    guard !entry.value.isNull else {
      problems.report(entry.position, "\(name(key)) has no value", howToFix: "give it one or remove the key")
      return nil
    }
    return entry.value
  }

  /// Reports a key that has a meaning but must not be used here. Its value is not looked at.
  public func refuse(_ key: String) {
    guard let entry = entry(key) else { return }
    problems.report(
      entry.position, "\(name(key)) is not built into this version yet", howToFix: "remove it")
  }

  // MARK: Single values

  public func string(_ key: String, required: Bool = false) -> Located<String>? {
    node(key, required: required).flatMap { string(of: $0, name: name(key)) }
  }

  public func integer(_ key: String, in range: ClosedRange<Int>) -> Located<Int>? {
    parsed(key, "a whole number") { text in
      text.utf8.allSatisfy((UInt8(ascii: "0")...UInt8(ascii: "9")).contains) ? Int(text) : nil
    }.flatMap { check($0, key, in: range, "\(range.lowerBound)", "\(range.upperBound)") }
  }

  public func boolean(_ key: String) -> Located<Bool>? {
    parsed(key, "true or false") { $0 == "true" ? true : $0 == "false" ? false : nil }
  }

  /// In Go form, and with `d` for days.
  public func duration(_ key: String, in range: ClosedRange<Duration>) -> Located<Duration>? {
    parsed(key, "a duration like 100ms, 1m30s or 30d") { GoDuration.parse($0, days: true) }.flatMap {
      check($0, key, in: range, GoDuration.text(range.lowerBound), GoDuration.text(range.upperBound))
    }
  }

  /// Bytes, written with B, KiB, MiB or GiB.
  public func size(_ key: String, in range: ClosedRange<Int>) -> Located<Int>? {
    parsed(key, "a size like 512B, 4KiB, 256MiB or 1GiB", ByteSize.parse).flatMap {
      check($0, key, in: range, ByteSize.text(range.lowerBound), ByteSize.text(range.upperBound))
    }
  }

  public func choice(_ key: String, of choices: [String]) -> Located<String>? {
    guard let word = string(key) else { return nil }
    guard choices.contains(word.value) else {
      let nearest = Suggestion.nearest(to: word.value, among: choices)
      problems.report(
        word.position, "\(name(key)) is \(Problem.quote(word.value)), it must be \(listed(choices))",
        howToFix: nearest.map { "did you mean \"\($0)\"?" } ?? "")
      return nil
    }
    return word
  }

  // MARK: Lists and mappings

  /// A list of at least one text. `emptyText`: whether an item may be "".
  public func strings(
    _ key: String, required: Bool = false, emptyText: Bool = false
  ) -> [Located<String>]? {
    items(key, required: required)?.compactMap {
      if emptyText, $0.scalar?.text == "", $0.scalar?.isNull == false { return Located("", at: $0.position) }
      return string(of: $0, name: "an item of \(name(key))")
    }
  }

  /// The items of a list that is not empty.
  public func items(_ key: String, required: Bool = false) -> [Node]? {
    guard let node = node(key, required: required) else { return nil }
    guard let items = node.sequence else {
      problems.report(
        node.position, "\(name(key)) must be a list, not \(node.kindName)",
        howToFix: node.scalar == nil ? "" : "put it in [brackets]")
      return nil
    }
    guard !items.isEmpty else {
      problems.report(node.position, "\(name(key)) is an empty list", howToFix: "fill it or remove the key")
      return nil
    }
    return items
  }

  public func mapping<Value>(
    _ key: String, required: Bool = false, _ body: (MappingReader) -> Value?
  ) -> Value? {
    node(key, required: required).flatMap {
      MappingReader.read($0, path: name(key), problems: problems, body)
    }
  }

  /// A list of mappings; items that are wrong are left out after their problems were reported.
  public func mappings<Value>(
    _ key: String, required: Bool = false, _ body: (MappingReader) -> Value?
  ) -> [Value]? {
    items(key, required: required)?.compactMap {
      MappingReader.read(
        $0, path: name(key), calledIfNone: "an item of \(name(key))", problems, body)
    }
  }

  /// A mapping whose keys are the operator's own words.
  public func freeEntries(_ key: String) -> [Node.Entry]? {
    guard let node = node(key) else { return nil }
    guard let entries = node.mapping else {
      problems.report(node.position, "\(name(key)) must be a mapping, not \(node.kindName)")
      return nil
    }
    return entries
  }

  // MARK: Parts

  /// A single value as text; nil, with a problem, for anything else, for empty text and control characters.
  public func string(of node: Node, name: String) -> Located<String>? {
    guard let scalar = node.scalar, !scalar.isNull else {
      problems.report(node.position, "\(name) must be a single value, not \(node.kindName)")
      return nil
    }
    guard !scalar.text.isEmpty else {
      problems.report(node.position, "\(name) is empty")
      return nil
    }
    guard scalar.text.unicodeScalars.allSatisfy({ $0.properties.generalCategory != .control }) else {
      let isKey = scalar.text.contains("-----BEGIN")
      problems.report(
        node.position, "\(name) has control characters or more than one line",
        howToFix: isKey ? "put the PEM into a file and write its path" : "write it on one line")
      return nil
    }
    return Located(scalar.text, at: node.position)
  }

  private func parsed<Value>(
    _ key: String, _ expected: String, _ parse: (String) -> Value?
  ) -> Located<Value>? {
    guard let text = string(key) else { return nil }
    guard let value = parse(text.value) else {
      problems.report(text.position, "\(name(key)) is \(Problem.quote(text.value)), it must be \(expected)")
      return nil
    }
    return Located(value, at: text.position)
  }

  private func check<Value: Comparable>(
    _ value: Located<Value>, _ key: String, in range: ClosedRange<Value>, _ least: String, _ most: String
  ) -> Located<Value>? {
    guard range.contains(value.value) else {
      problems.report(value.position, "\(name(key)) is out of range, it must be \(least) to \(most)")
      return nil
    }
    return value
  }

  private func reportUnknownKeys() {
    for entry in entries where !known.contains(entry.key) {
      let nearest = Suggestion.nearest(to: entry.key, among: known)
      let place = path.isEmpty ? "" : " in \(path)"
      problems.report(
        entry.position, "unknown key \(Problem.quote(entry.key))\(place)",
        why: nearest == nil ? "the keys here are \(known.sorted().joined(separator: " "))" : "",
        howToFix: nearest.map { "did you mean \"\($0)\"?" } ?? "")
    }
  }

  private func listed(_ words: [String]) -> String {
    words.count < 2
      ? words.joined() : words.dropLast().joined(separator: ", ") + " or " + (words.last ?? "")
  }
}
