// Goal: who asks for one object among very many finds it, at its own place, without reading the rest; and is never told
// anything else than who reads everything.
// Method: texts by hand; random files whose names are spelled in every way that YAML has, looked at both ways; a real
// folder with one large file or very many small ones, whose times are printed.

import Foundation
import Primitives
import Snapshots
import Testing

@testable import Manifests
@testable import Origins

struct MentionTests {
  private static let gateway = TypeName(group: "networking.istio.io", kind: "Gateway")

  private static func object(_ name: String, in namespace: String = "foo") -> ObjectIdentity {
    ObjectIdentity(type: gateway, namespace: namespace, name: name)
  }

  @Test(arguments: [
    ("a: 1\n---\nb: word\n---\nc: 3\n", "\n---\nb: word\n\n\n"),
    ("word", "word"), ("a\n--- word\nb\n---\n", "\n--- word\nb\n\n"), ("nothing\n---\n", ""), ("", ""),
    ("a\n----\nword\n", "a\n----\nword\n"), ("a\n---\tx\r\n---\r\nword", "\n\n---\r\nword"),
    ("word\n---\nword\n---\nx", "word\n---\nword\n\n"),
    // A part of a longer word is another word.
    ("words\n---\nsword\n---\n(word)\n---\nmy-word", "\n\n\n---\n(word)\n"),
    // Escapes that may spell it, and those that cannot.
    (
      "\"w\\x6frd\"\n---\n\"\\n\\x00\\u003c\"\n---\n\"\\u0077\\\nx\"",
      "\"w\\x6frd\"\n\n\n---\n\"\\u0077\\\nx\""
    ),
    ("\"wo\\\n  rd\"\n---\n\"two \\\n  words\"\n---\n\"two\\\n  \\ words\"\n", "\"wo\\\n  rd\"\n"),
    // Directives belong to what follows, and no line is lost where lines end by CR.
    ("a\n...\n%TAG ! x:\n---\nword", "a\n...\n%TAG ! x:\n---\nword"), ("a\r---\nword", "a\r---\nword"),
  ])
  func keepsWhatMayHoldTheWordAndEveryLine(_ text: String, _ expected: String) throws {
    // Whose kind is called like itself.
    let object = ObjectIdentity(type: TypeName(group: "g", kind: "word"), namespace: "", name: "word")
    let mention = try #require(Mention(of: object, isBare: false, defaultNamespace: "foo"))
    let result = String(decoding: mention.reduce(Array(text.utf8)), as: UTF8.self)
    // The end of a text that is left out needs no lines.
    #expect(Self.trimmed(result) == Self.trimmed(expected))
    #expect(result.prefix { $0 == "\n" }.count == (result.isEmpty ? 0 : expected.prefix { $0 == "\n" }.count))
  }

  private static func trimmed(_ text: String) -> String { text.trimmingCharacters(in: .newlines) }

  @Test func everyWordIsNeeded() throws {
    let text = Array("kind: Gateway\nname: a\nnamespace: b\n".utf8)
    func holds(_ name: String, _ namespace: String, isBare: Bool = false) throws -> Bool {
      let mention = try #require(
        Mention(of: Self.object(name, in: namespace), isBare: isBare, defaultNamespace: "default"))
      return !mention.reduce(text).isEmpty
    }
    #expect(try holds("a", "b") && holds("a", "default") && holds("a", "") && holds("q", "", isBare: true))
    #expect(try !holds("a", "c") && !holds("c", "b"))
    #expect(Mention(of: Self.object(""), isBare: false, defaultNamespace: "default") == nil)
  }

  // MARK: against reading everything

  private static let names = ["a", "ab", "web", "default"]

  /// One value of YAML that means `text`.
  private static func spelled(_ text: String, _ random: inout SeededGenerator) -> String {
    let characters = Array(text)
    let at = Int.random(in: 0..<characters.count, using: &random)
    let (before, after) = (String(characters[..<at]), String(characters[(at + 1)...]))
    let code = String(characters[at].unicodeScalars.first?.value ?? 0, radix: 16)
    switch Int.random(in: 0..<9, using: &random) {
    case 0: return "'\(text)'"
    case 1: return "\"\(text)\""
    case 2: return "\"\(before)\\x\(code)\(after)\""
    case 3: return "\"\(before)\\u00\(code)\(after)\""
    case 4: return "\"\(before)\\\n      \(characters[at])\(after)\""
    case 5: return "!!str \(text)"
    case 6: return "&q \(text)"
    case 7: return "\"\\\n  \(text)\\\n  \""
    default: return text
    }
  }

  private static func document(_ random: inout SeededGenerator) -> String {
    let name = spelled(names.randomElement(using: &random) ?? "", &random)
    let namespace = spelled(names.randomElement(using: &random) ?? "", &random)
    let kind = spelled(["Gateway", "Sidecar", "GatewayList"].randomElement(using: &random) ?? "", &random)
    let spec =
      ["{selector: {app: a}}", "{selectors: {}}", "{selector: {app: web}, servers: []}"]
      .randomElement(using: &random) ?? ""
    let place = Bool.random(using: &random) ? ", namespace: \(namespace)" : ""
    let object =
      "apiVersion: networking.istio.io/v1, kind: \(kind), metadata: {name: \(name)\(place)}, spec: \(spec)"
    switch Int.random(in: 0..<8, using: &random) {
    case 0: return "{apiVersion: v1, kind: List, items: [{\(object)}]}"
    case 1:
      return "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata:\n  name: >-\n    web\nspec: {}"
    case 2: return "x: &x {name: \(name)}\n\(object.replacing(", ", with: "\n"))"
    case 3: return "%YAML 1.1\n---\n{\(object)}"
    case 4: return "{\(object)"
    case 5:
      return
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {<<: {name: \(name)}, namespace: a}\nspec: {}"
    default: return "# \(name) is told of here\n{\(object)}"
    }
  }

  @Test(arguments: 0..<6)
  func saysWhatReadingEverythingSays(_ round: Int) throws {
    let seed = UInt64.random(in: 0...UInt64.max) &+ UInt64(round)
    var random = SeededGenerator(seed: seed)
    let folder = try Self.folder()
    defer { try? FileManager.default.removeItem(at: folder) }
    // Above and below what is read right away.
    let files = round == 0 ? 260 : 8
    for file in 0..<files {
      let ends = ["\n", "\n", "\r\n", "\r"].randomElement(using: &random) ?? ""
      let documents = (0..<Int.random(in: 1...(round == 0 ? 2 : 6), using: &random)).map { _ in
        Self.document(&random)
      }
      let text = documents.joined(separator: "\n---\n").replacing("\n", with: ends)
      let name = folder.appending(path: "\(file).yaml")
      try text.write(to: name, atomically: true, encoding: .utf8)
    }
    let whole = Self.look(folder, nil)
    for (name, namespace) in Self.names.flatMap({ name in Self.names.map { (name, $0) } }) {
      let object = Self.object(name, in: namespace)
      let one = Self.look(folder, object)
      func resource(_ report: DirectoryReport) -> Version? { Self.resource(object, in: report)?.version }
      func told(_ report: DirectoryReport) -> [Rejection] {
        report.rejected.filter { $0.resource == "\(object)" }
      }
      #expect(resource(one) == resource(whole), "\(object), seed \(seed)")
      #expect(told(one) == told(whole), "\(object), seed \(seed)")
    }
  }

  // MARK: many

  private static func folder() throws -> URL {
    let folder = FileManager.default.temporaryDirectory.appending(path: "mention-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    return folder
  }

  private static func look(_ folder: URL, _ object: ObjectIdentity?) -> DirectoryReport {
    DirectoryReport.once(
      source: "s", path: folder.path(percentEncoded: false), limits: Limits(), now: Timestamp(seconds: 1),
      about: object)
  }

  private static func resource(_ object: ObjectIdentity, in report: DirectoryReport) -> Resource? {
    for case .replace(object.type, let resources) in report.updates.map(\.kind) {
      return resources.first { $0.namespace == object.namespace && $0.name == object.name }
    }
    return nil
  }

  @Test(arguments: [false, true])
  func findsOneAmongManyAtItsPlace(_ inFilesOfTheirOwn: Bool) throws {
    let folder = try Self.folder()
    defer { try? FileManager.default.removeItem(at: folder) }
    let count = ProcessInfo.processInfo.environment["MESHRELAY_SCALE"] == "full" ? 60_000 : 2_000
    var documents = (0..<count).map { index in
      """
      apiVersion: networking.istio.io/v1
      kind: Gateway
      metadata: {name: gateway-\(index), namespace: foo}
      spec: {selector: {istio: ingress}}

      """
    }
    // What is wrong with one is told at its own line.
    documents[7] = documents[7].replacing("selector: {istio: ingress}", with: "selectors: {}")
    if inFilesOfTheirOwn {
      for (index, text) in documents.enumerated() {
        try Data(text.utf8).write(to: folder.appending(path: "\(index).yaml"))
      }
    } else {
      try Data(documents.joined(separator: "---\n").utf8).write(to: folder.appending(path: "many.yaml"))
    }
    let clock = ContinuousClock()
    func timed(_ name: String) -> DirectoryReport {
      let start = clock.now
      let report = Self.look(folder, Self.object(name))
      print("\(name) of \(count), in files of their own: \(inFilesOfTheirOwn): \(clock.now - start)")
      return report
    }
    let one = timed("gateway-1234")
    #expect(Self.resource(Self.object("gateway-1234"), in: one) != nil && one.resources == 1)
    #expect(timed("gateway-\(count)").resources == 0)
    let bad = timed("gateway-7").rejected
    #expect(bad.count == 1 && bad[0].place.hasSuffix(inFilesOfTheirOwn ? "7.yaml:4:8" : "many.yaml:39:8"))
    if count == 2_000 {
      let whole = Self.look(folder, nil)
      #expect(whole.resources == count - 1 && whole.rejected == bad)
    }
  }
}
