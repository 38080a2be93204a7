// Goal: durations, sizes and suggestions are read exactly, and never trap on any text.
// Method: tables from Go's documentation of ParseDuration, edges of 64 bits, seeded random text.

import Documents
import Primitives
import Testing

struct GoDurationTests {
  @Test(
    arguments: [
      ("0", .zero), ("0s", .zero), ("-0", .zero), ("5s", .seconds(5)), ("100ms", .milliseconds(100)),
      ("1m30s", .seconds(90)), ("1.5h", .seconds(5400)), ("-1.5h", .seconds(-5400)), ("+5s", .seconds(5)),
      (".5s", .milliseconds(500)), ("5.s", .seconds(5)), ("1h1m1s1ms1us1ns", .nanoseconds(3_661_001_001_001)),
      ("1µs", .microseconds(1)), ("1μs", .microseconds(1)),
      ("2562047h47m16.854775807s", .nanoseconds(Int64.max)),
      ("0.3333333333333333333h", .nanoseconds(1_199_999_999_999)), ("1.0000000001s", .seconds(1)),
    ] as [(String, Duration)])
  func valid(_ text: String, _ expected: Duration) { #expect(GoDuration.parse(text) == expected) }

  @Test(arguments: [
    "", "3", "-", "+", "s", ".", ".s", "-.", "1", "1d", "1 s", " 1s", "1s ", "1x", "1S", "1e3s", "--1s",
    "1s-1s",
    "9223372036854775808ns", "2562048h", "99999999999999999999s", "٣s", "1s5", "0x1s", "1,5s",
  ])
  func invalid(_ text: String) { #expect(GoDuration.parse(text) == nil) }

  @Test func daysOnlyWhenAsked() {
    #expect(GoDuration.parse("30d", days: true) == .seconds(30 * 86_400))
    #expect(GoDuration.parse("1d12h", days: true) == .seconds(129_600))
    #expect(GoDuration.parse("106752d", days: true) == nil)
  }

  @Test(arguments: ["0s", "1s", "100ms", "1m30s", "2h", "30d", "1s500ms", "61m", "999ns"])
  func textReadsBack(_ text: String) throws {
    let duration = try #require(GoDuration.parse(text, days: true))
    #expect(GoDuration.text(duration) == text)
  }
}

struct ByteSizeTests {
  @Test(arguments: [("0B", 0), ("1B", 1), ("4KiB", 4096), ("256MiB", 268_435_456), ("1GiB", 1 << 30)])
  func valid(_ text: String, _ bytes: Int) {
    #expect(ByteSize.parse(text) == bytes)
    #expect(ByteSize.text(bytes) == text)
  }

  @Test(arguments: [
    "", "B", "1", "1KB", "1kib", "1 KiB", "-1B", "+1B", "1.5MiB", "99999999999999999999B",
    "9223372036854775807GiB",
  ])
  func invalid(_ text: String) { #expect(ByteSize.parse(text) == nil) }
}

struct SuggestionTests {
  @Test(
    arguments: [
      ("nod", "node"), ("Node", "node"), ("lisen", "listen"), ("sorces", "sources"), ("ndoe", "node"),
      ("spiffeid", "spiffeID"), ("zzz", nil), ("", nil), ("policies", nil),
    ] as [(String, String?)])
  func nearest(_ word: String, _ expected: String?) {
    let known = ["node", "listen", "sources", "policy", "spiffeID", "maxBytes"]
    #expect(Suggestion.nearest(to: word, among: known) == expected)
  }

  @Test func longWordsCostNothing() {
    #expect(Suggestion.nearest(to: String(repeating: "a", count: 1_000_000), among: ["a"]) == nil)
  }
}

struct RandomTextTests {
  /// Text from the characters that matter to YAML must give trees or problems, never a trap.
  @Test(arguments: 0..<8)
  func randomYAMLNeverTraps(_ seed: UInt64) {
    var generator = SeededGenerator(seed: seed)
    let words = [
      "a", "b: ", "- ", ": ", "? ", "\n", "\n  ", "[", "]", "{", "}", ",", "&x ", "*x", "!!str ", "!t ", "'",
      "\"", "|\n",
      ">\n", "---\n", "...\n", "%YAML 1.1\n", "#", "\\", "\\u12", "\t", "\r", "é", "\u{0}", "\u{E000}",
      "<<: ", "~", "\u{85}", "@",
    ]
    for round in 0..<2000 {
      let text = (0..<Int.random(in: 0...40, using: &generator)).map { _ in
        words.randomElement(using: &generator) ?? ""
      }.joined()
      var bytes = Array(text.utf8)
      if round.isMultiple(of: 4), !bytes.isEmpty {
        bytes[Int.random(in: 0..<bytes.count, using: &generator)] = UInt8.random(
          in: 0...255, using: &generator)
      }
      let (documents, problems) = YAML.parse(yaml: bytes, file: "f")
      for problem in problems {
        #expect(problem.position.line >= 1 && problem.position.column >= 1, "seed \(seed) text \(bytes)")
      }
      _ = documents.map(render)
      _ = GoDuration.parse(text, days: true)
      _ = ByteSize.parse(text)
    }
  }
}
