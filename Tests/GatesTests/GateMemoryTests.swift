// Goal: a restart is no amnesty: what was removed within the window still counts, what was released stays released, and
// an object that went while it was hidden does not come back in a view that is kept.
// Method: the stage of GateTests, with another process in the middle of each story.

import Policy
import Primitives
import Snapshots
import Testing

@testable import Gates

struct GateMemoryTests {
  @Test func removalsBeforeARestartCountWithThoseAfter() throws {
    var stage = try Stage()
    for step in 0..<3 {
      stage.change(gateway, remove: Stage.names(step * 4..<step * 4 + 4, "foo"), after: 60)
      stage.restart()
    }
    #expect(stage.count("a") == 47, "12 of 55 are too many: the last 4 are held")
    #expect(stage.publisher.standings.map(\.cluster) == ["a"])
    // And after the window they do not.
    stage = try Stage()
    for step in 0..<5 {
      stage.change(gateway, remove: Stage.names(step * 4..<step * 4 + 4, "foo"), after: 400)
      stage.restart(after: 10)
    }
    #expect(stage.count("a") == 35 && stage.publisher.gates.isEmpty)
  }

  @Test func whatCameBackBeforeARestartDoesNotCount() throws {
    var stage = try Stage()
    stage.change(gateway, remove: Stage.names(0..<9, "foo"))
    stage.change(gateway, set: Stage.names(0..<9, "foo"))
    stage.restart()
    stage.change(gateway, remove: Stage.names(20..<29, "foo"))
    #expect(stage.count("a") == 46 && stage.publisher.gates.isEmpty)
    stage.restart()
    stage.change(gateway, set: Stage.names(20..<29, "foo"))
    stage.change(gateway, remove: Stage.names(30..<39, "foo"))
    #expect(stage.count("a") == 46 && stage.publisher.gates.isEmpty, "nor what came back after it")
  }

  @Test func whatWasReleasedStaysReleased() throws {
    var stage = try Stage()
    stage.change(gateway, remove: Stage.names(0..<20, "foo"))
    try stage.perform(.release("a", nil))
    stage.restart()
    #expect(stage.count("a") == 35)
    #expect(stage.view("a").removalCause(of: "foo/r3", type: gateway, claimedVersion: "any") == .released)
    #expect(stage.view("b").removalCause(of: "foo/r3", type: gateway, claimedVersion: "any") == .source)
    // What passed does not count again.
    stage.change(gateway, remove: ["foo/r30"], after: 1)
    #expect(stage.count("a") == 34 && stage.publisher.gates.isEmpty)
    stage.restart()
    stage.restart()
    stage.change(gateway, remove: ["foo/r31"], after: 1)
    #expect(stage.count("a") == 33 && stage.publisher.gates.isEmpty)
    stage.change(gateway, set: ["foo/r3"])
    stage.change(gateway, remove: ["foo/r3"])
    stage.restart()
    #expect(stage.view("a").removalCause(of: "foo/r3", type: gateway, claimedVersion: "any") == .source)
  }

  @Test func whatWentWhileItWasHiddenStaysHidden() throws {
    let text = """
      clusters:
        - {name: a, identities: ["spiffe://example.org/a"], allow: [{namespaces: [foo], labels: "!draft"}]}
      """
    var stage = try Stage()
    _ = stage.publisher.replace(rules: try #require(PolicyRules.parse(text, file: "p").rules))
    try stage.perform(.freeze(cluster: "a"))
    stage.change(gateway, set: ["foo/r1"], labels: [("draft", "yes")])
    #expect(stage.count("a") == 49)
    stage.change(gateway, remove: ["foo/r1"])
    #expect(stage.count("a") == 49)
    stage.restart()
    #expect(stage.count("a") == 49)
    stage.change(gateway, set: ["foo/r1"])
    stage.restart()
    #expect(stage.count("a") == 50, "as it is now it may be seen, and so may what was kept of it")
  }

  @Test func whatIsRevokedIsNotRemembered() throws {
    var stage = try Stage()
    stage.change(gateway, remove: Stage.names(0..<3, "bar"))
    #expect(stage.publisher.memory.removals.count { !$0.isVoid } == 3)
    // The grant on all that is left in the namespace ends.
    stage.change(gateway, remove: Stage.names(3..<5, "bar"), because: .policy)
    #expect(stage.publisher.memory.removals.count { !$0.isVoid } == 0)
    // Nor how it was when it went, with a gate in force.
    stage = try Stage()
    try stage.perform(.freeze(cluster: nil))
    stage.change(gateway, remove: Stage.names(0..<3, "bar"))
    #expect(stage.publisher.memory.lastForms[gateway]?.count == 3)
    stage.change(gateway, remove: Stage.names(3..<5, "bar"), because: .policy)
    #expect(stage.publisher.memory.lastForms[gateway]?.isEmpty == true)
  }
}
