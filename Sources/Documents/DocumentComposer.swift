// From the bytes of one document to its tree, by way of Yams (libyaml).
//
//   bytes ─ valid UTF-8? ─► text ─ disguise ─► Yams ─► its nodes ─ aliases, keys, bounds ─► Node
//
// Nothing here trusts the text: depth and alias expansion are counted while the tree is built, and what
// breaks a bound becomes a problem at its place. Yams itself stops at 1,000 levels.

import Yams

struct DocumentComposer {
  private(set) var problems: [Problem] = []
  private let file: String
  private let linesBefore: Int
  private let limits: DocumentLimits

  /// Parses of one document with duplicate keys; each parse finds one. Reason: bounded work.
  private static let parsesMax = 32

  init(file: String, linesBefore: Int, limits: DocumentLimits) {
    self.file = file
    self.linesBefore = linesBefore
    self.limits = limits
  }

  /// The documents of a chunk: nearly always one. Empty with a problem when it cannot be read.
  mutating func compose(_ bytes: ArraySlice<UInt8>) -> [Node] {
    guard bytes.count <= limits.documentBytes else {
      report(
        1, 1, "the document has \(bytes.count) bytes, more than \(limits.documentBytes)",
        howToFix: "split it")
      return []
    }
    guard DocumentComposer.explicitKeys(bytes) <= DocumentComposer.keyWorkMax / max(1, bytes.count) else {
      report(1, 1, "the document has too many keys written with ?", howToFix: "write key: value")
      return []
    }
    guard let text = readableText(bytes) else { return [] }
    guard var disguised = DisguisedText(text) else {
      report(1, 1, "the document uses every private-use character", howToFix: "leave some of them out")
      return []
    }
    // A text twice as long may be parsed half as often.
    let parses = max(2, min(DocumentComposer.parsesMax, (4 << 20) / max(1, bytes.count)))
    for round in 1...parses {
      do {
        return try tree(of: disguised, textBytes: bytes.count)
      } catch YamlError.duplicatedKeysInMapping(let keys, let context) {
        let place = context.mark
        guard round < parses, disguised.markKey(line: place.line, column: place.column, count: round)
        else {
          let key = Problem.quote(disguised.reveal(keys.first ?? ""))
          report(
            place, in: disguised, "the key \(key) is written more than once in this mapping",
            howToFix: "keep one of them")
          return []
        }
      } catch let error as YamlError {
        report(error, in: disguised)
        return []
      } catch {
        return []
      }
    }
    return []
  }

  private mutating func tree(of disguised: DisguisedText, textBytes: Int) throws -> [Node] {
    let parser = try Parser(yaml: disguised.text, resolver: .basic, encoding: .utf8)
    // Nodes refer to their anchors weakly: the parser must outlive the building of the tree.
    return try withExtendedLifetime(parser) {
      var roots: [Node] = []
      while let root = try parser.nextRoot() {
        guard !DocumentComposer.isEmpty(root) else { continue }
        var builder = TreeBuilder(
          disguised: disguised, file: file, linesBefore: linesBefore, limits: limits,
          textBytes: textBytes)
        let node = builder.build(root)
        problems += builder.problems
        if let node { roots.append(node) }
      }
      return roots
    }
  }

  private static func isEmpty(_ root: Yams.Node) -> Bool {
    guard case .scalar(let scalar) = root else { return false }
    return scalar.style == .plain && scalar.string.isEmpty
  }

  /// Explicit keys times bytes of a document. Reason: Yams hashes a key with all that is in it, and explicit
  /// keys may stand in each other a thousand deep.
  private static let keyWorkMax = 16 << 20

  /// How many times `?` may begin an explicit key: first in its line, or after an indicator.
  private static func explicitKeys(_ bytes: ArraySlice<UInt8>) -> Int {
    var count = 0
    var before = UInt8(ascii: "\n")
    for (index, byte) in zip(bytes.indices, bytes) {
      if byte == UInt8(ascii: "?"), "\n\r?-:[{,".utf8.contains(before) {
        let next = index + 1 < bytes.endIndex ? bytes[index + 1] : UInt8(ascii: "\n")
        count += " \t\n\r".utf8.contains(next) ? 1 : 0
      }
      if byte != UInt8(ascii: " ") { before = byte }
    }
    return count
  }

  // MARK: Text

  /// Nil, with a problem, unless the bytes are UTF-8 without characters that YAML forbids.
  private mutating func readableText(_ bytes: ArraySlice<UInt8>) -> String? {
    var line = 1
    var column = 1
    var iterator = bytes.makeIterator()
    var decoder = UTF8()
    var previous: Unicode.Scalar = "\n"
    while true {
      switch decoder.decode(&iterator) {
      case .emptyInput: return String(decoding: bytes, as: UTF8.self)
      case .error:
        report(line, column, "a byte here is not UTF-8", howToFix: "save the file as UTF-8")
        return nil
      case .scalarValue(let scalar):
        guard DocumentComposer.isAllowed(scalar) else {
          report(
            line, column,
            "the control character U+\(String(scalar.value, radix: 16, uppercase: true)) is not allowed here",
            howToFix: "remove it, or write it as an escape in double quotes")
          return nil
        }
        if scalar == "\n" || scalar == "\r" {
          if !(scalar == "\n" && previous == "\r") { line += 1 }
          column = 1
        } else {
          column += 1
        }
        previous = scalar
      }
    }
  }

  /// The printable characters of YAML 1.1, which are those that libyaml reads.
  private static func isAllowed(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0x09, 0x0A, 0x0D, 0x20...0x7E, 0x85, 0xA0...0xD7FF, 0xE000...0xFFFD, 0x1_0000...0x10_FFFF: true
    default: false
    }
  }

  // MARK: Problems

  private mutating func report(_ error: YamlError, in disguised: DisguisedText) {
    switch error {
    case .scanner(let context, let problem, let mark, _), .parser(let context, let problem, let mark, _),
      .composer(let context, let problem, let mark, _):
      let isTab = problem == "found character that cannot start any token"
      report(
        mark, in: disguised, "this is no YAML: \(disguised.reveal(problem))",
        why: context.map { "\($0.text) that begins at line \(linesBefore + $0.mark.line)" } ?? "",
        howToFix: isTab ? "indent with spaces, never with tabs, and quote values that begin with @ or `" : "")
    case .reader(let problem, _, _, _):
      report(1, 1, "this is no YAML: \(problem)")
    default:
      report(1, 1, "this is no YAML")
    }
  }

  private mutating func report(
    _ mark: Mark, in disguised: DisguisedText, _ what: String, why: String = "", howToFix: String = ""
  ) {
    let column = disguised.column(mark.column, ofLine: mark.line)
    report(mark.line, column, what, why: why, howToFix: howToFix)
  }

  /// `line` counts from 1 within the chunk.
  private mutating func report(
    _ line: Int, _ column: Int, _ what: String, why: String = "", howToFix: String = ""
  ) {
    let position = SourcePosition(file: file, line: linesBefore + line, column: column)
    problems.append(Problem(position, what, why: why, howToFix: howToFix))
  }
}
