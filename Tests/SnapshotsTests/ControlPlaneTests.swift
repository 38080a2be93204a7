// Goal: identifiers survive the round trip, foreign ones read as nil, hostile ones never trap; and the
// rules about steps back hold. Method: tables, random damage.

import Primitives
import Testing

@testable import Snapshots

struct ControlPlaneTests {
  private let position = Position(
    origin: "mesh-prod", sequence: 1_795_000_000_000, published: Timestamp(seconds: 1_795_000_000),
    path: [
      PathElement(instance: "11-22", node: "orig\"in\u{1F680}"), PathElement(instance: "33", node: "edge"),
    ])

  @Test(arguments: [nil, .policy, .released, .source] as [RemovalCause?])
  func roundTrip(cause: RemovalCause?) {
    let plane = ControlPlane(node: "edge\n", position: position, removals: cause)
    #expect(ControlPlane(json: plane.json) == plane)
  }

  @Test func saysWhereATypeStandsWhenThatIsElsewhere() {
    var content = position
    content.sequence -= 5
    content.published = Timestamp(seconds: 1_794_000_000)
    let plane = ControlPlane(
      node: "edge", position: position, content: content, isPartial: true, removals: .released)
    let read = ControlPlane(json: plane.json)
    #expect(read == plane)
    #expect(read?.content.sequence == content.sequence)
    #expect(ControlPlane(node: "edge", position: position, removals: nil).content == position)
    #expect(
      ControlPlane(json: plane.json.replacing("\"content\":{", with: "\"content\":{\"x\":{},")) == plane)
    #expect(ControlPlane(json: plane.json.replacing("\"content\":{", with: "\"content\":7,\"x\":{")) == nil)
  }

  @Test func writesTheAgreedForm() {
    let plane = ControlPlane(
      node: "a",
      position: Position(
        origin: "o", sequence: 7, published: Timestamp(seconds: 0),
        path: [PathElement(instance: "i", node: "a")]),
      removals: .policy)
    #expect(
      plane.json == """
        {"node":"a","path":[{"instance":"i","node":"a"}],"origin":"o","sequence":7,\
        "published":"1970-01-01T00:00:00Z","removals":"policy"}
        """)
  }

  @Test func readsEscapesAndUnknownFields() {
    let text = """
      { "node": "\\u0061\\ud83d\\ude80", "later": [1.5e3, null, {"x": true}], "path": [], "origin": "o",
        "sequence": 7, "published": "1970-01-01T00:00:00Z", "removals": "someday" }
      """
    #expect(ControlPlane(json: text)?.node == "a\u{1F680}")
    #expect(ControlPlane(json: text)?.removals == nil)
  }

  @Test(arguments: [
    "", "istiod-5c", "{}", "[]", "{\"node\":\"a\"}", "{\"node\":\"a\",\"node\":\"a\"}", "\u{0}", "{\"a\":01}",
    "{\"Component\":\"istiod\",\"ID\":\"istiod-5c\",\"Info\":{\"version\":\"1.24\"}}", "nul", "\"\\ud800\"",
    String(repeating: "[", count: 10_000), String(repeating: "x", count: 20_000),
  ])
  func foreignIdentifiersAreNil(text: String) {
    #expect(ControlPlane(json: text) == nil)
  }

  @Test func damagedIdentifiersNeverTrap() {
    var generator = SeededGenerator(seed: 3)
    let whole = Array(ControlPlane(node: "edge", position: position, removals: .source).json.utf8)
    for _ in 0..<20_000 {
      var bytes = whole
      bytes[Int.random(in: 0..<bytes.count, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
      _ = ControlPlane(json: String(decoding: bytes, as: UTF8.self))
    }
  }

  private func judge(
    origin: String = "o", sequence: UInt64, published: Int64 = 0, path: [String] = ["up"],
    bringsChange: Bool = true
  ) -> PositionVerdict {
    Position.judge(
      offered: Position(
        origin: origin, sequence: sequence, published: Timestamp(seconds: published),
        path: path.map { PathElement(instance: $0, node: "n") }),
      held: Position(origin: "o", sequence: 100, published: Timestamp(seconds: 50), path: []),
      instance: "me", now: Timestamp(seconds: 1_000), bringsChange: bringsChange)
  }

  @Test func judgesPositions() {
    #expect(judge(sequence: 101) == .accepted)
    #expect(judge(sequence: 100) == .accepted)
    #expect(judge(sequence: 99) == .behind)
    #expect(judge(sequence: 99, bringsChange: false) == .accepted)
    #expect(judge(sequence: 101, path: ["up", "me"]) == .loop)
    #expect(judge(sequence: 101, path: ["up", "me"], bringsChange: false) == .loop)
    #expect(judge(sequence: 101, path: (0..<40).map { "r\($0)" }) == .loop)
    #expect(judge(origin: "p", sequence: 1, published: 49) == .otherOrigin)
    #expect(judge(origin: "p", sequence: 1, published: 50) == .accepted)
    #expect(judge(sequence: 1_300_000) == .accepted)
    #expect(judge(sequence: 1_300_001) == .future)
  }

  @Test func sequencesGrow() {
    #expect(Position.nextSequence(after: 5, at: Timestamp(milliseconds: 9_000)) == 9_000)
    #expect(Position.nextSequence(after: 9_000, at: Timestamp(milliseconds: 8_000)) == 9_001)
    #expect(Position.nextSequence(after: .max, at: Timestamp(milliseconds: 8_000)) == .max)
    #expect(Position.nextSequence(after: 0, at: Timestamp(seconds: -5)) == 1)
  }
}
