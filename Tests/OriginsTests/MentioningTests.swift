// Goal: who asks for one object among very many finds it, at its own place, without reading the rest.
// Method: texts by hand; a real folder with one large file, whose objects are looked up both ways; times are printed.

import Foundation
import Primitives
import Snapshots
import Testing

@testable import Origins

struct MentioningTests {
  @Test(arguments: [
    ("a: 1\n---\nb: word\n---\nc: 3\n", "\n---\nb: word\n\n\n"),
    ("word", "word"), ("a\n--- word\nb\n---\n", "\n--- word\nb\n\n"), ("nothing\n---\n", ""), ("", ""),
    ("a\n----\nword\n", "a\n----\nword\n"), ("a\n---\tx\r\n---\r\nword", "\n\n---\r\nword"),
    ("word\n---\nword\n---\nx", "word\n---\nword\n\n"),
  ])
  func keepsWhatHoldsTheWordAndEveryLine(_ text: String, _ expected: String) {
    let reduced = MentioningText.reduce(Array(text.utf8), to: Array("word".utf8))
    #expect(String(decoding: reduced, as: UTF8.self) == expected)
  }

  @Test func findsOneAmongManyAtItsPlace() throws {
    let folder = FileManager.default.temporaryDirectory.appending(path: "mentioning-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let count = ProcessInfo.processInfo.environment["MESHRELAY_SCALE"] == "full" ? 60_000 : 2_000
    let documents = (0..<count).map { index in
      """
      apiVersion: networking.istio.io/v1
      kind: Gateway
      metadata: {name: gateway-\(index)x, namespace: foo}
      spec: {selector: {istio: ingress}}

      """
    }
    try documents.joined(separator: "---\n").write(
      to: folder.appending(path: "many.yaml"), atomically: true, encoding: .utf8)
    func look(_ word: String?) -> (names: [String], rejected: [Rejection], took: Duration) {
      let clock = ContinuousClock()
      let start = clock.now
      let report = DirectoryReport.once(
        source: "s", path: folder.path(percentEncoded: false), limits: Limits(), now: Timestamp(seconds: 1),
        mentioning: word)
      let names = report.updates.flatMap { update in
        if case .replace(_, let resources) = update.kind { resources.map(\.wireName) } else { [String]() }
      }
      return (names, report.rejected, clock.now - start)
    }
    let one = look("gateway-1234x")
    #expect(one.names == ["foo/gateway-1234x"] && one.rejected.isEmpty)
    #expect(look("gateway-\(count)x").names.isEmpty)
    if count == 2_000 { #expect(look(nil).names.count == count) }
    print("one object of \(count) in one file: found in \(one.took)")
    // What is wrong with it is told at its own line.
    let bad = documents[7].replacing("selector: {istio: ingress}", with: "selectors: {}")
    try (documents[0..<7] + [bad] + documents[8..<20]).joined(separator: "---\n").write(
      to: folder.appending(path: "many.yaml"), atomically: true, encoding: .utf8)
    #expect(look("gateway-7x").rejected.map(\.place) == look(nil).rejected.map(\.place))
    #expect(look("gateway-7x").rejected.count == 1)
  }
}
