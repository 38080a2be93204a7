// The text of one document, changed so that Yams neither expands aliases nor stops at a duplicate key.
//
// Yams replaces aliases before anyone can count them and refuses a mapping with a duplicate key as a
// whole. So every `*` is replaced by a private-use character that the text does not contain: an alias
// then parses as a plain scalar beginning with that character, and everything else parses as before.
// Duplicate keys are made distinct by another such character. TreeBuilder undoes both. And JSON's escapes of
// two surrogates become the one escape that YAML has.
// Source: YAML 1.2, sections 5.3 (indicators), 7.1 (alias nodes).

struct DisguisedText {
  /// Stands for `*`.
  let aliasMark: Unicode.Scalar
  /// Makes keys distinct; means nothing.
  let keyMark: Unicode.Scalar
  private(set) var scalars: String.UnicodeScalarView
  private var insertions: [Insertion] = []
  private let isUnchanged: Bool

  /// Where two escapes became one that is 2 characters shorter: ascending columns by line.
  private var joins: [Int: [Int]] = [:]

  /// Key marks put into a line: what follows them there has moved to the right.
  private struct Insertion {
    let line: Int
    let column: Int
    let count: Int
  }

  /// Nil when the text uses every private-use character of the basic plane.
  init?(_ text: String) {
    let isPlain = text.utf8.allSatisfy { $0 < 0xEE && $0 != UInt8(ascii: "*") }
    guard let marks = DisguisedText.unusedMarks(in: text, isPlain: isPlain) else { return nil }
    (aliasMark, keyMark) = marks
    isUnchanged = isPlain
    scalars = text.unicodeScalars
    if !isPlain {
      var disguised = String.UnicodeScalarView()
      for scalar in scalars { disguised.append(scalar == "*" ? aliasMark : scalar) }
      scalars = disguised
    }
    joinSurrogates()
  }

  var text: String { String(scalars) }

  /// The characters that the operator wrote for `value`, a scalar of the disguised text.
  func reveal(_ value: String) -> String {
    guard !isUnchanged || !insertions.isEmpty else { return value }
    var revealed = String.UnicodeScalarView()
    for scalar in value.unicodeScalars where scalar != keyMark {
      revealed.append(scalar == aliasMark ? "*" : scalar)
    }
    return String(revealed)
  }

  /// The column in the operator's text of a place in the disguised text.
  func column(_ column: Int, ofLine line: Int) -> Int {
    let joined = joins[line].map { DisguisedText.count(of: $0, below: column) } ?? 0
    return insertions.reduce(column + 2 * joined) { moved, insertion in
      insertion.line == line && insertion.column < column ? moved - insertion.count : moved
    }
  }

  /// How many of `columns`, which ascend, are below this one. A line of JSON can have very many.
  private static func count(of columns: [Int], below column: Int) -> Int {
    var (low, high) = (0, columns.count)
    while low < high {
      let middle = (low + high) / 2
      if columns[middle] < column { low = middle + 1 } else { high = middle }
    }
    return low
  }

  /// Puts `count` key marks into the key at a place of the disguised text. False when what stands
  /// there is no simple key; then the text is unchanged.
  mutating func markKey(line: Int, column: Int, count: Int) -> Bool {
    guard var index = index(line: line, column: column) else { return false }
    var place = column
    switch scalars[index] {
    case "\"", "'":
      index = scalars.index(after: index)
      place += 1
    case "&", "!", "?", "[", "{", "|", ">": return false
    default: break
    }
    scalars.insert(contentsOf: repeatElement(keyMark, count: count), at: index)
    insertions.append(Insertion(line: line, column: place, count: count))
    return true
  }

  /// JSON writes characters beyond U+FFFF as two escapes, `\uD83D\uDE00`, which YAML does not know. In a
  /// JSON document, where a backslash always stands in a string, each pair becomes `\U0001F600`.
  private mutating func joinSurrogates() {
    let first = scalars.first { $0.properties.isWhitespace == false }
    guard first == "{" || first == "[", String(scalars).contains("\\u") else { return }
    var joined = String.UnicodeScalarView()
    var (line, column) = (1, 1)
    var rest = Array(scalars)[...]
    while let scalar = rest.first {
      if let pair = DisguisedText.surrogatePair(rest) {
        let digits = String(pair.value, radix: 16)
        joined.append(
          contentsOf: "\\U\(String(repeating: "0", count: 8 - digits.count))\(digits)".unicodeScalars)
        joins[line, default: []].append(column)
        (rest, column) = (rest.dropFirst(12), column + 10)
        continue
      }
      // An escaped backslash begins no escape.
      let count = scalar == "\\" ? min(2, rest.count) : 1
      joined.append(contentsOf: rest.prefix(count))
      rest = rest.dropFirst(count)
      (line, column) = scalar == "\n" ? (line + 1, 1) : (line, column + count)
    }
    scalars = joined
  }

  /// The character that two escapes at the start of `text` stand for.
  private static func surrogatePair(_ text: ArraySlice<Unicode.Scalar>) -> Unicode.Scalar? {
    guard let high = escape(text), (0xD800...0xDBFF).contains(high),
      let low = escape(text.dropFirst(6)), (0xDC00...0xDFFF).contains(low)
    else { return nil }
    return Unicode.Scalar(0x1_0000 + (high - 0xD800) << 10 + (low - 0xDC00))
  }

  /// The number of `\uXXXX` at the start of `text`.
  private static func escape(_ text: ArraySlice<Unicode.Scalar>) -> UInt32? {
    let parts = Array(text.prefix(6))
    guard parts.count == 6, parts[0] == "\\", parts[1] == "u" else { return nil }
    let digits = String(String.UnicodeScalarView(parts[2...]))
    return digits.allSatisfy(\.isHexDigit) ? UInt32(digits, radix: 16) : nil
  }

  private func index(line: Int, column: Int) -> String.UnicodeScalarView.Index? {
    var index = scalars.startIndex
    var current = 1
    while current < line, index < scalars.endIndex {
      let scalar = scalars[index]
      index = scalars.index(after: index)
      if scalar == "\r", index < scalars.endIndex, scalars[index] == "\n" {
        index = scalars.index(after: index)
      }
      // The line breaks of YAML 1.1, which libyaml counts.
      if ["\n", "\r", "\u{85}", "\u{2028}", "\u{2029}"].contains(scalar) { current += 1 }
    }
    guard let place = scalars.index(index, offsetBy: column - 1, limitedBy: scalars.endIndex) else {
      return nil
    }
    return place < scalars.endIndex ? place : nil
  }

  /// Two characters that the text neither has nor can have by an escape such as `\uE000`.
  private static func unusedMarks(
    in text: String, isPlain: Bool
  ) -> (Unicode.Scalar, Unicode.Scalar)? {
    let privateUse: ClosedRange<UInt32> = 0xE000...0xF8FF
    var used: Set<UInt32> = []
    if !isPlain {
      for scalar in text.unicodeScalars where privateUse.contains(scalar.value) {
        used.insert(scalar.value)
      }
    }
    if text.utf8.contains(UInt8(ascii: "\\")) { used.formUnion(hexadecimalNumbers(text)) }
    let unused = privateUse.lazy.filter { !used.contains($0) }.compactMap(Unicode.Scalar.init).prefix(2)
    guard let first = unused.first, let second = unused.dropFirst().first else { return nil }
    return (first, second)
  }

  /// Every four hexadecimal digits in a row as a number, wherever they stand.
  private static func hexadecimalNumbers(_ text: String) -> Set<UInt32> {
    var numbers: Set<UInt32> = []
    var (digits, window): (Int, UInt32) = (0, 0)
    for byte in text.utf8 {
      guard let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
        digits = 0
        continue
      }
      digits += 1
      window = (window << 4 | UInt32(digit)) & 0xFFFF
      if digits >= 4 { numbers.insert(window) }
    }
    return numbers
  }
}
