// Goal: a reader gives typed values and reports everything that is wrong, all at once, at its place.
// Method: one schema with a key of each type, read from sound and from broken text.

import Documents
import Testing

private struct Sample: Equatable {
  var name: String?
  var count: Int?
  var flag: Bool?
  var wait: Duration?
  var size: Int?
  var mode: String?
  var words: [String]?
  var inner: [String]?
  var free: [String]?
}

private func read(_ text: String) -> (sample: Sample?, problems: [String]) {
  let (root, problems) = YAML.parseSingle(yaml: Array(text.utf8), file: "f")
  let list = ProblemList(problems)
  let sample = root.flatMap { root in
    MappingReader.read(root, problems: list) { reader in
      Sample(
        name: reader.string("name", required: true)?.value,
        count: reader.integer("count", in: 1...10)?.value,
        flag: reader.boolean("flag")?.value,
        wait: reader.duration("wait", in: .milliseconds(1) ... .seconds(60))?.value,
        size: reader.size("size", in: 1...(1 << 20))?.value,
        mode: reader.choice("mode", of: ["stop", "continue"])?.value,
        words: reader.strings("words")?.map(\.value),
        inner: reader.mappings("inner") { $0.string("key", required: true)?.value },
        free: reader.freeEntries("free")?.map(\.key))
    }
  }
  return (sample, Problem.sorted(list.problems).map(\.description))
}

struct MappingReaderTests {
  @Test func soundTextGivesTypedValues() {
    let text = """
      {name: n, count: 3, flag: true, wait: 1m, size: 1KiB, mode: stop, words: [a, 'b'],
       inner: [{key: x}, {key: y}], free: {any: 1, thing: 2}}
      """
    let (sample, problems) = read(text)
    #expect(problems == [])
    #expect(
      sample
        == Sample(
          name: "n", count: 3, flag: true, wait: .seconds(60), size: 1024, mode: "stop", words: ["a", "b"],
          inner: ["x", "y"], free: ["any", "thing"]))
  }

  @Test func everythingWrongIsReportedAtOnce() {
    let text = """
      nmae: n
      count: 11
      flag: yes
      wait: 5
      size: 2MiB
      mode: contniue
      words: a
      inner: [{kez: x}, 1]
      free: []
      """
    #expect(
      read(text).problems == [
        "f:1:1: the key \"name\" is missing",
        "f:1:1: unknown key \"nmae\", did you mean \"name\"?",
        "f:2:8: count is out of range, it must be 1 to 10",
        "f:3:7: flag is \"yes\", it must be true or false",
        "f:4:7: wait is \"5\", it must be a duration like 100ms, 1m30s or 30d",
        "f:5:7: size is out of range, it must be 1B to 1MiB",
        "f:6:7: mode is \"contniue\", it must be stop or continue, did you mean \"continue\"?",
        "f:7:8: words must be a list, not a single value, put it in [brackets]",
        "f:8:9: the key \"key\" is missing in inner",
        "f:8:10: unknown key \"kez\" in inner, did you mean \"key\"?",
        "f:8:19: an item of inner must be a mapping, not a single value",
        "f:9:7: free must be a mapping, not a list",
      ])
  }

  @Test(arguments: [
    ("[]", "f:1:1: the document must be a mapping, not a list"),
    ("name:", "f:1:1: name has no value, give it one or remove the key"),
    ("name: ''", "f:1:7: name is empty"),
    ("name: \"a\\nb\"", "f:1:7: name has control characters or more than one line, write it on one line"),
    (
      "name: |\n  -----BEGIN PRIVATE KEY-----\n  MIIE\n",
      "f:1:7: name has control characters or more than one line, put the PEM into a file and write its path"
    ),
    ("name: n\ncount: -1", "f:2:8: count is \"-1\", it must be a whole number"),
    (
      "name: n\ncount: 99999999999999999999",
      "f:2:8: count is \"99999999999999999999\", it must be a whole number"
    ),
    ("name: n\nwords: []", "f:2:8: words is an empty list, fill it or remove the key"),
    ("name: n\nwords: [[a]]", "f:2:9: an item of words must be a single value, not a list"),
    (
      "name: n\nqqqqqq: 1",
      "f:2:1: unknown key \"qqqqqq\", the keys here are count flag free inner mode name size wait words"
    ),
    (
      "name: n\nname: m",
      "f:2:1: the key \"name\" is written twice, it stands at line 1 already, remove one of them"
    ),
  ])
  func oneProblem(_ text: String, _ expected: String) { #expect(read(text).problems == [expected]) }
}

struct TextFileTests {
  @Test func pathsAreSeenFromTheirFile() {
    #expect(TextFile.resolve("a.pem", besideFile: "/etc/meshrelay/meshrelay.yaml") == "/etc/meshrelay/a.pem")
    #expect(TextFile.resolve("/a.pem", besideFile: "/etc/x.yaml") == "/a.pem")
    #expect(TextFile.resolve("a.pem", besideFile: "x.yaml") == "a.pem")
    #expect(TextFile.resolve("../a.pem", besideFile: "conf/x.yaml") == "conf/../a.pem")
  }

  @Test func whatCannotBeReadIsAProblem() {
    let missing = #expect(throws: Problem.self) { try TextFile.read("/nonexistent/file") }
    #expect(
      missing?.description
        == "/nonexistent/file:1:1: cannot be read, no such file or directory, create it or correct the path")
    #expect(throws: Problem.self) { try TextFile.read("/") }
    #expect(throws: Problem.self) { try TextFile.read("/dev/zero", bytesMax: 1 << 20) }
    #expect(throws: Problem.self) { try TextFile.names(inFolder: "/nonexistent") }
    #expect(TextFile.isFolder("/") && !TextFile.isFolder("/dev/null"))
  }
}
