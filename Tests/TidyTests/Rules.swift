// The tidiness rules: pure functions from one source file to findings. `RuleTests` shows that each
// can fail; `TreeTests` runs all of them over the repository.

/// One departure from the rules of the house.
struct Finding: CustomStringConvertible, Equatable {
  let path: String
  /// Counted from 1.
  let line: Int
  let message: String

  var description: String { "\(path):\(line): \(message)" }
}

enum Rules {
  /// Every rule that judges one file alone.
  static func findings(in source: SwiftSource) -> [Finding] {
    guard !source.isGenerated else { return [] }
    return accessLevels(in: source) + typeNames(in: source) + printing(in: source)
      + foundation(in: source) + traps(in: source) + evasions(in: source) + impurity(in: source)
      + headComment(in: source)
  }

  /// Cross-room API is `public`: `package` is not specialised across rooms and `open` has no use here.
  static func accessLevels(in source: SwiftSource) -> [Finding] {
    let declarations =
      #/^\s*(?:@\w+(?:\([^)]*\))?\s+)*(package|open)\s+(?:import|func|var|let|class|struct|enum|init|protocol|extension|actor|static|final|typealias|subscript|override|mutating|indirect|convenience|required)\b/#
    return matches(of: declarations, in: source).map { line, match in
      Finding(
        path: source.path, line: line, message: "access level `\(match.output.1)`; cross-room API is `public`"
      )
    }
  }

  /// Names that say nothing about their subject, and types that shadow their room's name.
  static func typeNames(in source: SwiftSource) -> [Finding] {
    let declarations = #/\b(?:class|struct|enum|actor|protocol|typealias)\s+([A-Z]\w*)/#
    return matches(of: declarations, in: source).compactMap { line, match in
      let name = String(match.output.1)
      guard let reason = objection(toTypeName: name, room: source.room) else { return nil }
      return Finding(path: source.path, line: line, message: "type name `\(name)`: \(reason)")
    }
  }

  static func objection(toTypeName name: String, room: String?) -> String? {
    let empty: Set<String> = [
      "Manager", "Helper", "Helpers", "Util", "Utils", "Utility", "Utilities", "Common", "Base",
      "Orchestrator",
      "Impl",
    ]
    if let word = words(ofCamelCase: name).first(where: { empty.contains($0) }) {
      return "`\(word)` does not say what it is"
    }
    if name == "Handler" { return "a bare Handler does not say what it handles" }
    if name.hasSuffix("Protocol") { return "a protocol is named by what it promises" }
    if name == room { return "a type must not bear its room's name, or the room cannot be named" }
    return nil
  }

  /// Rooms return values and errors; only the process and the console speak.
  static func printing(in source: SwiftSource) -> [Finding] {
    guard let room = source.room, !RoomTable.printing.contains(room) else { return [] }
    let calls = #/(?:^|[^\w.])(print|debugPrint|NSLog|fputs|puts|perror)\s*\(/#
    return matches(of: calls, in: source).compactMap { line, match in
      let call = match.output.1
      guard !call.base[..<call.startIndex].hasSuffix("func ") else { return nil }
      return Finding(
        path: source.path, line: line, message: "`\(match.output.1)` in a room that must not print")
    }
  }

  /// Full Foundation brings 50 MB and slow types; the data path does without.
  static func foundation(in source: SwiftSource) -> [Finding] {
    guard let name = source.room, let room = RoomTable.room(named: name), room.isDataPath else { return [] }
    return source.imports.filter { $0.module == "Foundation" || $0.module == "FoundationNetworking" }.map {
      Finding(path: source.path, line: $0.line, message: "`\($0.module)` on the data path")
    }
  }

  /// Ways to stop the process must say, in a sentence, what could not happen.
  static func traps(in source: SwiftSource) -> [Finding] {
    let forced = #/\b(try!|as!)/#
    var findings = matches(of: forced, in: source).map { line, match in
      Finding(
        path: source.path, line: line, message: "`\(match.output.1)` can stop the process without a word")
    }
    let stops = #/\b(fatalError|preconditionFailure)\s*\(/#
    let texts = source.textLines
    for (line, match) in matches(of: stops, in: source) {
      // The sentence may stand on the next line when the call is long.
      let call = texts[(line - 1)..<min(line + 1, texts.count)].joined(separator: " ")
      let argument = call.split(separator: match.output.1, maxSplits: 1).last ?? ""
      if argument.prefixMatch(of: #/\s*\(\s*"[^"]*\w+ +\w+[^"]*"/#) == nil {
        findings.append(
          Finding(path: source.path, line: line, message: "`\(match.output.1)` without a sentence"))
      }
    }
    return findings
  }

  /// Ways around the compiler and work put off.
  static func evasions(in source: SwiftSource) -> [Finding] {
    guard source.room != nil else { return [] }
    let sendable = matches(of: #/(@unchecked\s+Sendable)/#, in: source).map { line, match in
      Finding(path: source.path, line: line, message: "`\(match.output.1)` hides a race from the compiler")
    }
    let unfinished = source.textLines.enumerated().compactMap { index, text -> Finding? in
      guard let match = text.firstMatch(of: #/\b(TODO|FIXME|XXX|HACK)\b/#) else { return nil }
      return Finding(
        path: source.path, line: index + 1, message: "`\(match.output.1)`: finish it, or write an issue")
    }
    return sendable + unfinished
  }

  /// State machines get time, randomness and results as parameters, or they cannot be simulated.
  static func impurity(in source: SwiftSource) -> [Finding] {
    guard let name = source.room, let room = RoomTable.room(named: name), room.isPure else { return [] }
    let world =
      #/(?:^|[^\w.])(await\b|async\b|clock_gettime|ContinuousClock|SuspendingClock|SystemRandomNumberGenerator|pthread_create|Task\s*\{|Date\(\)|socket\()/#
    return matches(of: world, in: source).map { line, match in
      Finding(
        path: source.path, line: line, message: "`\(match.output.1)` in a room without a world of its own")
    }
  }

  /// The first lines say what lives here.
  static func headComment(in source: SwiftSource) -> [Finding] {
    let head = source.textLines.drop { $0.hasPrefix("// swift-tools-version") || $0.trimmed == "//" }
      .prefix { $0.hasPrefix("//") }.map { $0.trimmed }.joined()
    guard head.count < 40 else { return [] }
    return [Finding(path: source.path, line: 1, message: "no head comment that says what lives here")]
  }

  /// Lines of code a file may have before somebody should ask whether it is two files.
  static let fileLinesMax = 500

  /// A report, not a rule: long files.
  static func size(of source: SwiftSource) -> Finding? {
    let lines = source.textLines.count
    guard !source.isGenerated, lines > fileLinesMax else { return nil }
    return Finding(path: source.path, line: lines, message: "\(lines) lines; more than \(fileLinesMax)")
  }

  /// `HTTPServerBase` → `HTTP`, `Server`, `Base`.
  static func words(ofCamelCase name: String) -> [String] {
    name.matches(of: #/[A-Z]+(?![a-z])|[A-Z][a-z0-9]*|[a-z0-9]+/#).map { String($0.output) }
  }

  private static func matches<Output>(
    of pattern: Regex<Output>, in source: SwiftSource
  ) -> [(Int, Regex<Output>.Match)] {
    source.codeLines.enumerated().flatMap { index, line in
      line.matches(of: pattern).map { (index + 1, $0) }
    }
  }
}

extension String {
  fileprivate var trimmed: String {
    var text = Substring(self)
    while let first = text.first, first.isWhitespace { text.removeFirst() }
    while let last = text.last, last.isWhitespace { text.removeLast() }
    return String(text)
  }
}
