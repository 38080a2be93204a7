// Goal: every text becomes trees or problems at the right place, within bounds, and nothing hides the rest.
// Method: tables of text in, rendered tree or problem out.

import Documents
import Testing

/// A tree in one line: quoted scalars in quotes, tags in front.
func render(_ node: Node) -> String {
  switch node.content {
  case .scalar(let scalar):
    (scalar.tag.map { "<\($0)>" } ?? "") + (scalar.isQuoted ? "'\(scalar.text)'" : scalar.text)
  case .sequence(let items): "[" + items.map(render).joined(separator: ", ") + "]"
  case .mapping(let entries):
    "{" + entries.map { "\($0.key): \(render($0.value))" }.joined(separator: ", ") + "}"
  }
}

func parse(_ text: String) -> (trees: [String], problems: [String]) {
  let (documents, problems) = YAML.parse(yaml: text, file: "f")
  return (documents.map(render), problems.map(\.description))
}

struct TreeTests {
  @Test(arguments: [
    ("a: 1\nb: 'x'\n", ["{a: 1, b: 'x'}"]),
    ("{\"a\": [1, true, null], \"b\": {\"c\": \"d\"}}", ["{a: [1, true, null], b: {c: 'd'}}"]),
    ("\u{FEFF}a: 1", ["{a: 1}"]),
    ("a: 1\r\nb: 2\r\n", ["{a: 1, b: 2}"]),
    ("", []),
    ("# nothing\n\n---\n# still nothing\n", []),
    ("---\na: 1\n---\n---\nb: 2\n...\n", ["{a: 1}", "{b: 2}"]),
    ("%YAML 1.1\n---\na: 1\n", ["{a: 1}"]),
    ("a: 1\n...\n%YAML 1.1\n---\nb: 2\n", ["{a: 1}", "{b: 2}"]),
    ("a: |\n  ---\n  b: *c\n", ["{a: '---\nb: *c\n'}"]),
    ("--- {a: 1}\n--- [x]\n", ["{a: 1}", "[x]"]),
    ("hosts: [\"*\", '*.example.com', a*b]", ["{hosts: ['*', '*.example.com', a*b]}"]),
    ("a: &x {b: 1}\nc: *x\n", ["{a: {b: 1}, c: {b: 1}}"]),
    ("a: &x [1]\nb: &x [2]\nc: *x\n", ["{a: [1], b: [2], c: [2]}"]),
    ("a: &x k\n*x : 1\n", ["{a: k, k: 1}"]),
    ("base: &b {x: 1, y: 2}\nc: {<<: *b, y: 3}\n", ["{base: {x: 1, y: 2}, c: {y: 3, x: 1}}"]),
    ("c: {<<: [{x: 1}, {x: 2, z: 3}]}\n", ["{c: {x: 1, z: 3}}"]),
    ("c: {\"<<\": 1}\n", ["{c: {<<: 1}}"]),
    ("a: !!str 1\nb: !!int '2'\n", ["{a: <tag:yaml.org,2002:str>1, b: <tag:yaml.org,2002:int>'2'}"]),
    ("a: on\nb: ~\nc:\n", ["{a: on, b: ~, c: }"]),
    ("1: a\ntrue: b\n", ["{1: a, true: b}"]),
    ("a: \"x\\0y\\u00e9\"\n", ["{a: 'x\0yé'}"]),
    ("a: [\"\\uE000\", \"\\ue001\", \"\\U0000E002*\"]\n", ["{a: ['\u{E000}', '\u{E001}', '\u{E002}*']}"]),
    ("a: \u{E000}*\n", ["{a: \u{E000}*}"]),
    ("a: >\n  one\n  two\n", ["{a: 'one two\n'}"]),
    (
      "{\"a\": \"\\ud83d\\uDE00\\/\\u00e9\", \"b*\": \"\\\\ud83d\\\\ude00\"}",
      ["{a: '\u{1F600}/é', b*: '\\ud83d\\ude00'}"]
    ),
    ("a: '\\ud83d\\ude00'", ["{a: '\\ud83d\\ude00'}"]),
    ("{\n\t\"a\":\t1\n}", ["{a: 1}"]),
  ])
  func trees(_ text: String, _ expected: [String]) {
    let (trees, problems) = parse(text)
    #expect(trees == expected)
    #expect(problems == [])
  }

  @Test func everyNodeKnowsItsPlace() throws {
    let (documents, _) = YAML.parse(yaml: "# c\n---\na:\n  - é: *x1\n---\nb: &x {c: *x2}\n", file: "f")
    #expect(documents.isEmpty)
    let text = "a: 1\n---\n# c\nb:\n  - é: [x, y]\n    \"c\": '*'\n"
    let second = try #require(YAML.parse(yaml: text, file: "dir/f.yaml").documents.last)
    let item = try #require(second["b"]?.sequence?.first)
    #expect(item["é"]?.sequence?.last?.position.description == "dir/f.yaml:5:12")
    #expect(item.mapping?.last?.position.description == "dir/f.yaml:6:5")
    #expect(item["c"]?.position.description == "dir/f.yaml:6:10")
  }

  @Test func nullIsOnlyUnquoted() {
    for text in ["~", "null", "Null", "NULL", "!!null x"] {
      #expect(YAML.parse(yaml: "a: \(text)", file: "f").documents.first?["a"]?.isNull == true, "\(text)")
    }
    for text in ["'~'", "\"null\"", "nUll", "''", "!!str null", "0"] {
      #expect(YAML.parse(yaml: "a: \(text)", file: "f").documents.first?["a"]?.isNull == false, "\(text)")
    }
  }
}

struct ProblemTests {
  @Test(arguments: [
    (
      "a: 1\na: 2\n", "f:2:1: the key \"a\" is written twice, it stands at line 1 already, remove one of them"
    ),
    (
      "{x: 1, \"a\": 1, a: 2}",
      "f:1:16: the key \"a\" is written twice, it stands at line 1 already, remove one of them"
    ),
    (
      "a: [1\nb: 2\n",
      "f:2:2: this is no YAML: did not find expected ',' or ']', while parsing a flow sequence that begins at line 1"
    ),
    (
      "a:\n\tb: 1\n",
      "f:2:1: this is no YAML: found character that cannot start any token, while scanning for the next token that begins at line 2, indent with spaces, never with tabs, and quote values that begin with @ or `"
    ),
    (
      "a: *x\n",
      "f:1:4: this alias names no anchor above it, an unquoted * begins an alias, put the value in quotes, or write the anchor with &"
    ),
    (
      "a: &x [*x]\n",
      "f:1:8: this alias names no anchor above it, an unquoted * begins an alias, put the value in quotes, or write the anchor with &"
    ),
    (
      "hosts: [*.example.com]\n",
      "f:1:9: an unquoted * begins an alias, and this is none, put the value in quotes"
    ),
    ("{[a]: 1}", "f:1:2: a list cannot be a key, write a single value before the colon"),
    ("?\n: 1", "f:1:2: there is no key before the colon"),
    ("a: !secret x\n", "f:1:4: this tag has no meaning here, remove it"),
    ("a: !mine {}\n", "f:1:4: this tag has no meaning here, remove it"),
    (
      "a: x\u{0}y\n",
      "f:1:5: the control character U+0 is not allowed here, remove it, or write it as an escape in double quotes"
    ),
    (
      "a: 1\nb: \u{7F}\n",
      "f:2:4: the control character U+7F is not allowed here, remove it, or write it as an escape in double quotes"
    ),
    ("a: {<<: 1}\n", "f:1:9: << takes a mapping or a list of mappings, not a single value"),
    (
      "a: 'x\n",
      "f:2:1: this is no YAML: found unexpected end of stream, while scanning a quoted scalar that begins at line 1"
    ),
  ])
  func problems(_ text: String, _ expected: String) {
    let (trees, problems) = parse(text)
    #expect(trees == [])
    #expect(problems == [expected])
  }

  @Test func invalidUTF8IsAProblemAtItsPlace() {
    let bytes = Array("a: 1\n---\nb: é".utf8) + [0xFF] + Array("\n---\nc: 3\n".utf8)
    let (documents, problems) = YAML.parse(yaml: bytes, file: "f")
    #expect(documents.map(render) == ["{a: 1}", "{c: 3}"])
    #expect(problems.map(\.description) == ["f:3:5: a byte here is not UTF-8, save the file as UTF-8"])
  }

  @Test func oneBadDocumentDoesNotHideTheOthers() {
    let (trees, problems) = parse("a: 1\n---\nb: [\n---\nc: 3\n---\nd: *q\n--- 'x\n---\ne: 5\n")
    #expect(trees == ["{a: 1}", "{c: 3}", "{e: 5}"])
    #expect(problems.count == 3)
  }

  @Test func allDuplicateKeysAreReportedAtTheirPlaces() {
    let text = "a: 1\nb: {\"x\": 1, 'y': 2, \"x\": 3, y: 4}\na: 2\nc:\n  a: 1\na: 3\n"
    let (root, problems) = YAML.parseSingle(yaml: Array(text.utf8), file: "f")
    #expect(problems.map { "\($0.position)" } == ["f:2:21", "f:2:29", "f:3:1", "f:6:1"])
    #expect(root.map(render) == "{a: 1, b: {x: 1, y: 2}, c: {a: 1}}")
  }

  @Test func moreDuplicatesThanAreLookedForLeaveOneProblem() {
    let (trees, problems) = parse((0..<100).map { _ in "k: 1\n" }.joined())
    #expect(trees == [])
    #expect(problems.count == 1)
    #expect(problems.first?.contains("the key \"k\" is written more than once in this mapping") == true)
  }

  @Test func aFileForOneDocumentRefusesNoneAndTwo() {
    func problems(_ text: String) -> [String] {
      YAML.parseSingle(yaml: Array(text.utf8), file: "f").problems.map(\.description)
    }
    #expect(problems("# only a comment\n") == ["f:1:1: the file is empty"])
    #expect(
      problems("a: 1\n---\nb: 2\n") == ["f:3:1: a second document begins here, remove the line --- above it"])
    #expect(problems("a: 1\n") == [])
  }

  @Test func problemsNeverShowSecretsOrControlCharacters() {
    #expect(Problem.quote("https://user:secret@host/x") == "\"…@host/x\"")
    #expect(Problem.quote("-----BEGIN PRIVATE KEY-----\nMIIE") == "\"…\"")
    #expect(
      Problem.quote(String(repeating: "x", count: 61)) == "\"" + String(repeating: "x", count: 60) + "…\"")
    let problem = Problem(.start(of: "f"), "bad \u{1B}[31m", severity: .warning)
    #expect(problem.description == "f:1:1: warning: bad \\u{1b}[31m")
  }
}

struct BoundTests {
  @Test func depthIsBounded() {
    func nested(_ levels: Int) -> String {
      String(repeating: "[", count: levels) + String(repeating: "]", count: levels)
    }
    #expect(parse(nested(64)).problems == [])
    #expect(parse(nested(65)).problems == ["f:1:65: more than 64 levels of nesting"])
    // Yams itself stops here, and this is no crash.
    #expect(parse(nested(100_000)).problems.count == 1)
    #expect(parse(String(repeating: "- ", count: 100_000)).problems.count == 1)
    #expect(parse(String(repeating: "? ", count: 100_000)).problems.count == 1)
  }

  @Test func depthCountsThroughAliases() {
    // Each line doubles the depth of the one before: text is small, the tree is not.
    var lines = ["a0: &a0 [[[[[[[[x]]]]]]]]"]
    for level in 1...8 { lines.append("a\(level): &a\(level) [[[[[[[[*a\(level - 1)]]]]]]]]") }
    #expect(parse(lines.joined(separator: "\n")).problems.first?.contains("more than 64 levels") == true)
  }

  @Test func aliasExpansionIsBounded() {
    // Ten levels of ten aliases: 10^10 scalars from 600 bytes.
    var lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    for level in 1...10 {
      let alias = "*a\(level - 1)"
      lines.append(
        "a\(level): &a\(level) [" + Array(repeating: alias, count: 10).joined(separator: ",") + "]")
    }
    let (trees, problems) = parse(lines.joined(separator: "\n"))
    #expect(trees == [])
    #expect(problems.count == 1)
    #expect(problems.first?.contains("more than 10 times as large as its text") == true)
  }

  @Test func aliasesAsKeysDoNotExpandEither() {
    var lines = ["a0: &a0 [x,x]"]
    for level in 1...40 {
      lines.append("a\(level): &a\(level) {? *a\(level - 1) : 1, ? [*a\(level - 1)] : 2}")
    }
    #expect(!parse(lines.joined(separator: "\n")).problems.isEmpty)
  }

  @Test func keysWithinKeysAreBounded() {
    let nested = String(repeating: "? ", count: 900) + "[" + String(repeating: "a,", count: 20_000) + "]"
    #expect(
      parse(nested).problems == ["f:1:1: the document has too many keys written with ?, write key: value"])
    #expect(parse("? a\n: 1\n? b\n: 2\n").trees == ["{a: 1, b: 2}"])
  }

  @Test func joinedSurrogatesKeepPlaces() {
    let text = "{\"a\": \"\\ud83d\\ude00\", \"b\": 1, \"b\": 2}"
    #expect(YAML.parseSingle(yaml: Array(text.utf8), file: "f").problems.map(\.position.column) == [31])
    #expect(parse("{\"a\": \"\\ud83d\"}").problems.count == 1)
  }

  @Test func sizesAreBounded() {
    var limits = DocumentLimits()
    limits.fileBytes = 20
    limits.documentBytes = 8
    let tooLarge = YAML.parse(yaml: "a: 1\n---\nb: 234567890\n", file: "f", limits: limits)
    #expect(
      tooLarge.problems.map(\.description) == [
        "f:1:1: the file has 22 bytes, more than 20, split it into several files"
      ])
    let oneTooLarge = YAML.parse(yaml: "a: 1\n---\nb: 23456\n", file: "f", limits: limits)
    #expect(oneTooLarge.documents.map(render) == ["{a: 1}"])
    #expect(
      oneTooLarge.problems.map(\.description) == ["f:2:1: the document has 13 bytes, more than 8, split it"])
  }
}
