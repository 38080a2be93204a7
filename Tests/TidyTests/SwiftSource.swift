// One Swift file as the tidiness rules see it: its text, the same text with comments and string
// contents blanked out (offsets stay equal), and its import lines.

/// A source file in memory; the rules never touch the disk.
struct SwiftSource {
  /// Path below the repository's root, as findings show it.
  let path: String
  let text: [UInt8]
  /// `text` with every comment and every string's contents replaced by spaces; newlines stay.
  let code: [UInt8]

  init(path: String, text: String) {
    self.path = path
    self.text = Array(text.utf8)
    self.code = CodeBlanker.blank(self.text)
  }

  /// The room whose folder holds the file; nil for files elsewhere.
  var room: String? {
    let parts = path.split(separator: "/")
    return parts.count > 2 && parts[0] == "Sources" ? String(parts[1]) : nil
  }

  /// Made by protoc: somebody else's style.
  var isGenerated: Bool { path.hasSuffix(".pb.swift") }

  var codeLines: [String] { Self.lines(code) }
  var textLines: [String] { Self.lines(text) }

  /// Imported modules with the line they stand on, counted from 1.
  var imports: [(line: Int, module: String)] {
    codeLines.enumerated().compactMap { index, line in
      let words = line.split(separator: " ")
      guard let position = words.firstIndex(of: "import"), position + 1 < words.count,
        words[..<position].allSatisfy({ Self.importModifiers.contains($0) || $0.hasPrefix("@") })
      else { return nil }
      var module = words[position + 1]
      // `import struct Glibc.timespec` names the kind of one declaration first.
      if Self.declarationKinds.contains(module), position + 2 < words.count { module = words[position + 2] }
      return (index + 1, String(module.prefix { $0 != "." }))
    }
  }

  private static let importModifiers: Set<Substring> = [
    "public", "internal", "private", "fileprivate", "package",
  ]
  private static let declarationKinds: Set<Substring> = [
    "struct", "class", "enum", "protocol", "typealias", "func", "let", "var",
  ]

  private static func lines(_ bytes: [UInt8]) -> [String] {
    bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
      .map { String(decoding: $0, as: UTF8.self) }
  }
}

/// Replaces comments and the contents of string literals by spaces. Interpolations are code inside a
/// string and stay visible.
struct CodeBlanker {
  private let source: [UInt8]
  private var output: [UInt8]
  private var offset = 0

  static func blank(_ source: [UInt8]) -> [UInt8] {
    var blanker = CodeBlanker(source: source, output: source)
    blanker.scanCode(untilClosingParenthesis: false)
    return blanker.output
  }

  private mutating func scanCode(untilClosingParenthesis: Bool) {
    var depth = 0
    while offset < source.count {
      if starts(with: "//") {
        blankWhile { !$0.starts(with: "\n") }
      } else if starts(with: "/*") {
        blankBlockComment()
      } else if starts(with: "#/") {
        blankRegularExpression()
      } else if let hashes = stringStart() {
        blankString(hashes: hashes)
      } else {
        if starts(with: "(") { depth += 1 }
        if starts(with: ")") {
          if untilClosingParenthesis && depth == 0 { return }
          depth -= 1
        }
        offset += 1
      }
    }
  }

  /// How many `#` open a string here; nil when no string begins at `offset`.
  private func stringStart() -> Int? {
    var index = offset
    while index < source.count, source[index] == UInt8(ascii: "#") { index += 1 }
    return index < source.count && source[index] == UInt8(ascii: "\"") ? index - offset : nil
  }

  private mutating func blankString(hashes: Int) {
    let fence = String(repeating: "#", count: hashes)
    offset += hashes
    let quotes = starts(with: "\"\"\"") ? "\"\"\"" : "\""
    offset += quotes.utf8.count
    while offset < source.count {
      if starts(with: quotes + fence) {
        offset += quotes.utf8.count + hashes
        return
      }
      if quotes == "\"", starts(with: "\n") { return }
      if starts(with: "\\" + fence + "(") {
        offset += 2 + hashes
        scanCode(untilClosingParenthesis: true)
        offset = min(offset + 1, source.count)
      } else if starts(with: "\\" + fence) {
        blankOne()
        blankOne()
      } else {
        blankOne()
      }
    }
  }

  /// Only the fenced form `#/…/#`, on one line: the bare form looks like a division.
  private mutating func blankRegularExpression() {
    offset += 2
    blankWhile { !$0.starts(with: "/#") && !$0.starts(with: "\n") }
    offset = min(offset + 2, source.count)
  }

  private mutating func blankBlockComment() {
    var depth = 0
    repeat {
      if starts(with: "/*") {
        depth += 1
        blankOne()
      } else if starts(with: "*/") {
        depth -= 1
        blankOne()
      }
      blankOne()
    } while depth > 0 && offset < source.count
  }

  private mutating func blankWhile(_ condition: (CodeBlanker) -> Bool) {
    while offset < source.count, condition(self) { blankOne() }
  }

  private mutating func blankOne() {
    guard offset < source.count else { return }
    if source[offset] != UInt8(ascii: "\n") { output[offset] = UInt8(ascii: " ") }
    offset += 1
  }

  private func starts(with prefix: String) -> Bool {
    source[offset...].starts(with: prefix.utf8)
  }
}
