// Goal: what is kept is cut by what the tier above grants now, also where it has nothing left to take back; what is
// granted stays; the tiers below are told no more than can come; a restart forgets none of it.
// Method: the stage of GateTests, with the word of its source in between.

import Policy
import Primitives
import Snapshots
import Testing

@testable import Gates

private let all = "{\"allow\":[{}]}"
private let foo = "{\"allow\":[{\"namespaces\":[\"foo\"]}]}"
private let bar = "{\"allow\":[{\"namespaces\":[\"bar\"]}]}"

struct GrantKeepingTests {
  /// A view of `a` that still shows ten objects of `foo`, which its source has removed.
  private func held() throws -> Stage {
    var stage = try Stage()
    stage.grant(all)
    stage.change(gateway, remove: Stage.names(0..<20, "foo"))
    #expect(stage.count("a") == 55 && stage.publisher.gates.held["a"] != nil)
    return stage
  }

  @Test func aGrantThatEndsOnWhatIsGoneAlreadyLeavesAHeldView() throws {
    var stage = try held()
    stage.grant("{\"allow\":[{}],\"deny\":[{\"names\":[\"r1\",\"r2\",\"r40\"],\"namespaces\":[\"foo\"]}]}")
    #expect(stage.count("a") == 53, "r40 is still had: its source has not taken it back yet")
    #expect(stage.view("a").removalCause(of: "foo/r1", type: gateway) == .policy)
    #expect(stage.view("a").collections[gateway]?.contains("foo/r3") == true, "what is granted is held on")
    // The grant on everything that is held back ends: there is nothing left to hold.
    stage.grant(bar)
    #expect(stage.count("a") == 35 && stage.publisher.gates.held.isEmpty)
  }

  @Test(arguments: [Gate.Kind.pinned, .rolledBack, .frozen])
  func andEveryOtherGate(_ kind: Gate.Kind) throws {
    var stage = try Stage()
    stage.grant(all)
    let old = stage.content
    switch kind {
    case .pinned: try stage.perform(.pin("a", old))
    case .rolledBack: try stage.perform(.rollBack(old, cluster: nil))
    case .frozen, .held: try stage.perform(.freeze(cluster: "a"))
    }
    stage.change(gateway, remove: ["foo/r1"])
    stage.grant(
      "{\"allow\":[{}],\"deny\":[{\"names\":[\"r1\"],\"namespaces\":[\"foo\"],\"types\":[\"*/Gateway\"]}]}")
    #expect(stage.count("a") == 54 && stage.count("a", service) == 50)
    #expect(stage.view("a").removalCause(of: "foo/r1", type: gateway) == .policy)
    stage.restart()
    #expect(stage.count("a") == 54)
    // An older version is cut before it is put in force, in the next process, too.
    #expect(!stage.publisher.isGranted(Stage.resource(gateway, "foo/r1", 0)))
    #expect(stage.publisher.isGranted(Stage.resource(gateway, "foo/r2", 0)))
  }

  @Test func aFormThatIsNotGrantedGoesAlthoughTheObjectIsThere() throws {
    var stage = try Stage()
    stage.grant(all)
    stage.change(gateway, set: ["foo/r1", "foo/r2"], labels: [("tier", "old")])
    try stage.perform(.pin("a", stage.content))
    stage.change(gateway, set: ["foo/r1"], body: 1, labels: [("tier", "edge")])
    stage.change(gateway, set: ["foo/r2"], body: 1, labels: [("tier", "old")])
    stage.grant("{\"allow\":[{\"namespaces\":[\"*\"],\"labels\":\"tier!=old\"}]}")
    let pinned = stage.view("a").collections[gateway]
    #expect(pinned?.contains("foo/r1") == false, "it may be had, but not as it is kept")
    #expect(pinned?.contains("foo/r2") == true, "its source still has it so")
    #expect(stage.view("a").removalCause(of: "foo/r1", type: gateway) == .policy)
    #expect(stage.view("b").collections[gateway]?.count == 5)
    try stage.perform(.unpin("a"))
    #expect(stage.view("a").collections[gateway]?["foo/r1"]?.labels.first?.value == "edge")
  }

  @Test func versionsInMemoryLoseWhatIsNotGranted() throws {
    var stage = try Stage()
    var kept = KeptVersions(versions: 10, age: .seconds(86_400))
    func keep() {
      var change = Merge.Change()
      change.readinessChanged = true
      kept.note(stage.publisher.newest, change, now: stage.now)
    }
    keep()
    stage.change(gateway, set: ["foo/r1"], body: 1)
    keep()
    stage.change(gateway, remove: ["foo/r1", "foo/r2"])
    keep()
    stage.grant("{\"allow\":[{}],\"deny\":[{\"names\":[\"r1\",\"r3\"],\"types\":[\"*/Gateway\"]}]}")
    let (versions, rights) = (kept.all, stage.publisher.rights)
    kept.restrict(to: rights.admits)
    #expect(kept.all.map(\.isCut) == [false, true, true], "newest first")
    for (version, has) in zip(versions, [false, true, true]) {
      let content = try kept.find(version.version.description).get().collections[gateway]
      #expect(content?.contains("foo/r1") == false && content?.contains("foo/r2") == has)
      #expect(content?.contains("foo/r3") == true, "its source has it still")
    }
  }

  @Test func whoIsSlowToAnswerLosesItByPolicy() throws {
    for brake in [Brake(removes: 50, atLeast: 5, most: 40, window: .seconds(600)), .off] {
      var stage = try Stage(brake: brake)
      stage.grant(all)
      stage.change(gateway, remove: ["foo/r1"])
      #expect(stage.view("a").removalCause(of: "foo/r1", type: gateway) == .source)
      stage.grant(bar)
      #expect(stage.view("a").removalCause(of: "foo/r1", type: gateway) == .policy)
      // By our own policy, with a brake and without.
      stage = try Stage(brake: brake)
      stage.change(gateway, remove: ["foo/r1"])
      _ = stage.publisher.replace(rules: try Stage.rules("bar"))
      #expect(stage.view("a").removalCause(of: "foo/r1", type: gateway) == .policy)
    }
  }

  @Test func whatIsNotGrantedIsNotRemembered() throws {
    var stage = try Stage()
    stage.grant(all)
    try stage.perform(.freeze(cluster: "a"))
    stage.change(gateway, remove: ["foo/r1"])
    #expect(stage.publisher.memory.lastForms[gateway]?.count == 1)
    stage.grant(bar)
    #expect(stage.publisher.memory.lastForms[gateway]?.isEmpty == true)
    #expect(!stage.publisher.memory.removals.contains { !$0.isVoid })
    #expect(stage.publisher.memory.grants == ["s": bar])
    stage.grant(nil)
    #expect(stage.publisher.memory.grants == [:])
    #expect(
      stage.publisher.isGranted(Stage.resource(gateway, "foo/r1", 0)), "who says nothing rules nothing out")
  }

  @Test func aBrakeThatIsTurnedOnDoesNotCountWhatWentBefore() throws {
    var stage = try Stage(brake: .off)
    stage.change(gateway, remove: Stage.names(0..<20, "foo"))
    #expect(stage.count("a") == 35)
    _ = stage.publisher.replace(brake: Brake(removes: 20, atLeast: 5, most: 40, window: .seconds(600)))
    stage.change(gateway, remove: Stage.names(20..<24, "foo"))
    #expect(stage.count("a") == 31 && stage.publisher.gates.isEmpty)
    stage.change(gateway, remove: Stage.names(24..<30, "foo"))
    #expect(stage.count("a") == 31 && stage.publisher.gates.held["a"] != nil)
  }

  @Test func theTierBelowIsToldNoMoreThanCanCome() throws {
    var stage = try Stage()
    func told(_ cluster: String) -> String? {
      guard case .ready(let notice) = stage.view(cluster).state(of: GrantNotice.typeURL.type) else {
        return nil
      }
      return notice.resources.first.flatMap { GrantNotice.text(of: $0) }
    }
    #expect(told("a") == #"{"allow":[{"namespaces":["bar","foo"]}]}"#)
    stage.grant(foo)
    #expect(told("a") == #"{"allow":[{"namespaces":["foo"]}]}"# && told("b") == "{}")
    stage.grant(all)
    #expect(told("b") == #"{"allow":[{"namespaces":["bar"]}]}"#)
    stage.grant("not to be understood")
    #expect(told("a") == #"{"allow":[{"namespaces":["bar","foo"]}]}"#)
  }
}

extension Stage {
  /// The source says what it grants, as a publishing desk takes it.
  fileprivate mutating func grant(_ text: String?) {
    guard publisher.note(grant: text, of: "s") else { return }
    let revoked = publisher.ungranted
    publisher.dropOutdatedForms()
    revoke(revoked)
  }
}
