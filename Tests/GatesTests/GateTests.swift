// Goal: what the brake holds and what it lets pass, what commands do and refuse, and what clients and tiers below
// are told of it: positions, and causes of removals.
// Method: a small story per rule, with one source, one cluster or two, and a clock that is set by hand.

import Policy
import Primitives
import Snapshots
import Testing

@testable import Gates

let gateway = TypeName(group: "networking.istio.io", kind: "Gateway")
let service = TypeName(group: "networking.istio.io", kind: "VirtualService")

/// One source and the publisher behind it.
struct Stage {
  var publisher: Publisher
  private var merge = Merge(sources: [MergeSource(name: "s", listsEverything: true)])
  private var sequence: UInt64 = 0
  var now = Timestamp(seconds: 1_000)
  private(set) var last: Publication?

  init(brake: Brake = Brake(removes: 20, atLeast: 5, most: 40, window: .seconds(600))) throws {
    publisher = Publisher(rules: try Stage.rules("foo, bar"), brake: brake, sources: ["s"])
    change(gateway, set: Stage.names(0..<50, "foo") + Stage.names(0..<5, "bar"))
    change(service, set: Stage.names(0..<50, "foo"))
    let change = merge.apply(SourceUpdate(source: "s", kind: .complete))
    last = publisher.apply(change, snapshot: snapshot, now: now)
  }

  static func rules(_ namespaces: String) throws -> PolicyRules {
    let text = """
      clusters:
        - {name: a, identities: ["spiffe://example.org/a"], allow: [{namespaces: [\(namespaces)]}]}
        - {name: b, identities: ["spiffe://example.org/b"], allow: [{namespaces: [bar]}]}
      """
    let parsed = PolicyRules.parse(text, file: "policy.yaml")
    return try #require(parsed.rules, "\(parsed.problems)")
  }

  static func names(_ range: Range<Int>, _ namespace: String) -> [String] {
    range.map { "\(namespace)/r\($0)" }
  }

  private var snapshot: Snapshot {
    merge.snapshot(at: Position(origin: "o", sequence: sequence, published: now, path: []))
  }

  mutating func change(
    _ type: TypeName, set names: [String] = [], body: UInt8 = 0, remove: [String] = [],
    because cause: RemovalCause = .source, labels: [(key: String, value: String)] = [],
    after seconds: Int64 = 0
  ) {
    now = Timestamp(seconds: now.seconds + seconds)
    sequence += 1
    let change = merge.apply(
      SourceUpdate(
        source: "s",
        kind: .change(type, upserts: names.map { Stage.resource(type, $0, body, labels) }, removals: remove),
        removals: cause))
    last = publisher.apply(change, snapshot: snapshot, now: now)
  }

  /// What its source would not grant any more.
  mutating func revoke(_ revoked: [Merge.Revocation]) {
    var change = Merge.Change()
    change.revoked = revoked
    last = publisher.apply(change, snapshot: snapshot, now: now)
  }

  static func resource(
    _ type: TypeName, _ name: String, _ body: UInt8, _ labels: [(key: String, value: String)] = []
  ) -> Resource {
    let parts = name.split(separator: "/").map(String.init)
    let draft = ResourceDraft(
      namespace: parts[0], name: parts[1], labels: labels, createTime: Timestamp(seconds: 1),
      bodyMessage: Kinds[type]?.bodyMessage ?? "", body: [body], source: "s")
    do {
      return try Admission.admit(type: type, draft: draft, limits: Limits())
    } catch {
      preconditionFailure("a sample is not admitted: \(error)")
    }
  }

  /// The newest content, to go back to later.
  var content: KeptContent {
    KeptContent(version: publisher.newest.version, collections: publisher.newest.collections)
  }

  mutating func perform(_ command: GateCommand) throws(GateError) {
    sequence += 1
    last = try publisher.perform(command, snapshot: snapshot, now: now)
  }

  /// Another process goes on with what a store keeps of this one.
  mutating func restart(after seconds: Int64 = 0) {
    now = Timestamp(seconds: now.seconds + seconds)
    let old = publisher
    publisher = Publisher(rules: old.current.rules, brake: old.brake, sources: ["s"])
    publisher.restore(gates: old.gates)
    publisher.restore(memory: old.memory)
    merge = Merge(sources: [MergeSource(name: "s", listsEverything: true)])
    let change = merge.restore(old.newest.collections, completeSources: ["s"])
    last = publisher.apply(change, snapshot: snapshot, now: now)
  }

  func view(_ cluster: String) -> View {
    let rules = publisher.current.rules
    let index = rules.clusters.firstIndex { $0.name == cluster } ?? 0
    return publisher.current.views[publisher.current.place(ofCluster: index)]
  }

  func count(_ cluster: String, _ type: TypeName = gateway) -> Int {
    view(cluster).collections[type]?.count ?? 0
  }
}

struct GateTests {
  // MARK: the brake

  @Test func aMassRemovalIsHeldAsAWholeAndReleaseLetsItPass() throws {
    var stage = try Stage()
    stage.change(gateway, remove: Stage.names(0..<20, "foo"))
    #expect(stage.count("a") == 55, "20 of 55 are too many")
    #expect(stage.view("a").position.sequence == 2, "what is held stays where it was")
    #expect(stage.last?.changes == [])
    // What comes meanwhile is held back, too; what others see is not.
    stage.change(gateway, set: ["foo/new", "bar/new"])
    #expect(stage.count("a") == 55)
    #expect(stage.count("b") == 6)
    #expect(stage.publisher.standings.map(\.heldBack.removed) == [20])
    #expect(stage.publisher.standings.map(\.heldBack.added) == [2])

    try stage.perform(.release("a", nil))
    #expect(stage.count("a") == 37)
    #expect(stage.view("a").removalCause(of: "foo/r3", type: gateway) == .released)
    #expect(
      stage.view("a").removalCause(of: "foo/r3", type: gateway, claimedVersion: "any") == .released)
    #expect(stage.last?.changes.first?.removed.count == 20 && stage.last?.changes.first?.clusters == [0])
    #expect(stage.publisher.gates.isEmpty)
    // What passed does not count again.
    stage.change(gateway, remove: ["foo/r30"], after: 1)
    #expect(stage.count("a") == 36)
    #expect(stage.view("a").removalCause(of: "foo/r30", type: gateway) == .source)
    stage.change(gateway, set: ["foo/r3"])
    stage.change(gateway, remove: ["foo/r3"])
    #expect(stage.view("a").removalCause(of: "foo/r3", type: gateway) == .source)
  }

  @Test func aHeldViewIsLetGoWhenItsObjectsAreBack() throws {
    var stage = try Stage()
    stage.change(gateway, remove: Stage.names(0..<20, "foo"))
    stage.change(gateway, set: Stage.names(0..<14, "foo"), after: 3_600)
    #expect(stage.publisher.gates.isEmpty)
    #expect(stage.last?.events == [.letGo(cluster: "a")])
    #expect(stage.count("a") == 49)
    #expect(stage.view("a").removalCause(of: "foo/r15", type: gateway) == .source)
  }

  @Test func timeAloneReleasesNothing() throws {
    var stage = try Stage()
    stage.change(gateway, remove: Stage.names(0..<20, "foo"))
    stage.change(service, set: ["foo/later"], after: 86_400)
    #expect(stage.count("a") == 55 && stage.count("a", service) == 50)
  }

  @Test func manySmallRemovalsWithinTheWindowCountTogether() throws {
    var stage = try Stage()
    for step in 0..<3 {
      stage.change(gateway, remove: Stage.names(step * 4..<step * 4 + 4, "foo"), after: 60)
    }
    #expect(stage.count("a") == 47, "12 of 55 are too many: the last 4 are held")
    // They stay too many however late something else is published.
    stage.change(service, set: ["foo/later"], after: 3_600)
    #expect(stage.count("a") == 47)
  }

  @Test func removalsOlderThanTheWindowAreForgotten() throws {
    var stage = try Stage()
    for step in 0..<5 {
      stage.change(gateway, remove: Stage.names(step * 4..<step * 4 + 4, "foo"), after: 400)
    }
    #expect(stage.count("a") == 35)
  }

  @Test func fewRemovalsNeverTripItAndManyAlwaysDo() throws {
    var stage = try Stage()
    stage.change(gateway, remove: Stage.names(0..<4, "bar"))
    #expect(stage.count("b") == 1, "4 of 5 are fewer than atLeast")
    stage = try Stage(brake: Brake(removes: 99, atLeast: 5, most: 40, window: .seconds(600)))
    stage.change(gateway, remove: Stage.names(0..<41, "foo"))
    #expect(stage.count("a") == 55, "41 are more than most")
    stage = try Stage(brake: .off)
    stage.change(gateway, remove: Stage.names(0..<50, "foo"))
    #expect(stage.count("a") == 5)
  }

  @Test func removalsByPolicyAndReleasedOnesPass() throws {
    for cause in [RemovalCause.policy, .released] {
      var stage = try Stage()
      stage.change(gateway, remove: Stage.names(0..<50, "foo"), because: cause)
      #expect(stage.count("a") == 5)
      #expect(stage.view("a").removalCause(of: "foo/r3", type: gateway) == cause)
    }
    var stage = try Stage()
    _ = stage.publisher.replace(rules: try Stage.rules("bar"))
    #expect(stage.count("a") == 5)
  }

  @Test func whatWentJustBeforeItsGrantEndedGoesByPolicy() throws {
    var stage = try Stage()
    stage.change(gateway, remove: ["foo/r1", "bar/r1"])
    #expect(stage.view("a").removalCause(of: "foo/r1", type: gateway) == .source)
    _ = stage.publisher.replace(rules: try Stage.rules("bar"))
    // Of a client that has not answered yet, and still holds both.
    #expect(stage.view("a").removalCause(of: "foo/r1", type: gateway) == .policy)
    #expect(stage.view("a").removalCause(of: "bar/r1", type: gateway) == .source, "that grant did not end")
    // Whoever only claims to have held it learns nothing.
    #expect(stage.view("a").removalCause(of: "foo/r1", type: gateway, claimedVersion: "any") == .source)
    stage.change(gateway, set: ["bar/r1"])
    _ = stage.publisher.replace(rules: try Stage.rules("foo, bar"))
    stage.change(gateway, set: ["foo/r1"])
    stage.change(gateway, remove: ["foo/r1"])
    #expect(stage.view("a").removalCause(of: "foo/r1", type: gateway) == .source)
  }

  @Test func whoWasAwayHearsOfAReleaseAboveAndOfNothingHidden() throws {
    var stage = try Stage()
    stage.change(gateway, remove: ["foo/r1"], because: .released)
    let version = Stage.resource(gateway, "foo/r1", 0).version.description
    #expect(stage.view("a").removalCause(of: "foo/r1", type: gateway, claimedVersion: version) == .released)
    #expect(stage.view("b").removalCause(of: "foo/r1", type: gateway, claimedVersion: version) == .source)
  }

  @Test func aGrantThatEndsWhileAViewIsHeldIsGoneAtOnce() throws {
    var stage = try Stage()
    stage.change(gateway, remove: Stage.names(0..<20, "foo"))
    // Our own policy.
    _ = stage.publisher.replace(rules: try Stage.rules("foo"))
    #expect(stage.count("a") == 50 && stage.view("a").collections[gateway]?.contains("bar/r1") == false)
    #expect(stage.view("a").removalCause(of: "bar/r1", type: gateway) == .policy)
    // The upstream's: the object, and what is left of its namespace when that was the last.
    stage.change(gateway, remove: ["foo/r40"], because: .policy)
    #expect(stage.count("a") == 49)
    #expect(stage.view("a").removalCause(of: "foo/r40", type: gateway) == .policy)
    stage.change(gateway, remove: Stage.names(20..<50, "foo"), because: .policy)
    #expect(stage.count("a") == 0, "what was removed before its namespace was closed may be closed, too")
    #expect(stage.view("a").removalCause(of: "foo/r3", type: gateway) == .policy)
  }

  @Test func releaseOfOneTypeLetsTheRestBeJudged() throws {
    var stage = try Stage()
    stage.change(gateway, remove: Stage.names(0..<20, "foo"))
    stage.change(service, remove: Stage.names(0..<15, "foo"))
    let other = TypeName(group: "networking.istio.io", kind: "Sidecar")
    let all = ["20 \(gateway)", "15 \(service)"]
    #expect(throws: GateError.notHeldBack("a", other, isReleased: false, held: all)) {
      try stage.perform(.release("a", other))
    }
    try stage.perform(.release("a", gateway))
    #expect(stage.count("a") == 55, "the services are still too many")
    #expect(throws: GateError.notHeldBack("a", gateway, isReleased: true, held: ["15 \(service)"])) {
      try stage.perform(.release("a", gateway))
    }
    #expect(stage.publisher.gates.held["a"]?.reason.contains("VirtualService") == true)
    try stage.perform(.release("a", service))
    #expect(stage.count("a") == 35 && stage.count("a", service) == 35)
    #expect(throws: GateError.notHeld("a")) { try stage.perform(.release("a", nil)) }
  }

  // MARK: commands

  @Test func aRollbackIsServedAtTheNewestPosition() throws {
    var stage = try Stage()
    let old = stage.content
    stage.change(gateway, set: ["foo/new"] + Stage.names(0..<2, "foo"), body: 1)
    try stage.perform(.rollBack(old, cluster: nil))
    #expect(stage.count("a") == 55 && stage.count("b") == 5)
    #expect(stage.view("a").position.sequence == 4)
    #expect(stage.view("a").removalCause(of: "foo/new", type: gateway) == .released)
    #expect(stage.last?.changes.map(\.removed) == [["foo/new"]])
    #expect(stage.last?.changes.map(\.changed) == [["foo/r0", "foo/r1"]])
    stage.change(gateway, set: ["bar/new"])
    #expect(stage.count("b") == 5)
    #expect(stage.view("a").position.sequence == 5)
    try stage.perform(.thaw(cluster: "b"))
    #expect(stage.count("b") == 6 && stage.count("a") == 55)
    try stage.perform(.thaw(cluster: nil))
    #expect(stage.count("a") == 57)
    #expect(throws: GateError.nothingToThaw(cluster: nil)) { try stage.perform(.thaw(cluster: nil)) }
  }

  @Test func theEndOfAGateIsJudgedByTheBrake() throws {
    var stage = try Stage()
    try stage.perform(.freeze(cluster: nil))
    stage.change(gateway, remove: Stage.names(0..<20, "foo"))
    #expect(stage.publisher.gates.held.isEmpty)
    try stage.perform(.thaw(cluster: nil))
    guard case .held(cluster: "a", _, _)? = stage.last?.events.first else {
      Issue.record("the brake lets pass what happened in the freeze")
      return
    }
    #expect(stage.count("a") == 55)
    try stage.perform(.release("a", nil))
    #expect(stage.count("a") == 35)
  }

  @Test func aPinStaysThroughWhatIsSaidToAll() throws {
    var stage = try Stage()
    let old = stage.content
    stage.change(gateway, set: ["foo/new"])
    try stage.perform(.pin("a", old))
    try stage.perform(.rollBack(stage.content, cluster: nil))
    #expect(stage.count("a") == 55)
    try stage.perform(.thaw(cluster: nil))
    #expect(stage.count("a") == 55)
    #expect(throws: GateError.isPinned("a")) { try stage.perform(.thaw(cluster: "a")) }
    #expect(throws: GateError.isPinned("a")) { try stage.perform(.freeze(cluster: "a")) }
    #expect(throws: GateError.notPinned("b")) { try stage.perform(.unpin("b")) }
    #expect(throws: GateError.noSuchCluster("x", known: ["a", "b"])) { try stage.perform(.unpin("x")) }
    try stage.perform(.unpin("a"))
    #expect(stage.count("a") == 56)
  }

  @Test func aPinnedViewIsCutByThePolicyOfNow() throws {
    var stage = try Stage()
    let old = stage.content
    try stage.perform(.pin("a", old))
    _ = stage.publisher.replace(rules: try Stage.rules("bar"))
    #expect(stage.count("a") == 5)
    #expect(stage.view("a").removalCause(of: "foo/r3", type: gateway) == .policy)
    _ = stage.publisher.replace(rules: try Stage.rules("foo, bar"))
    stage.change(gateway, remove: ["foo/r3"], because: .policy)
    #expect(stage.count("a") == 54, "what the upstream takes away by policy leaves pins")
  }

  @Test func nothingCanBeKeptBeforeAnythingIsServed() throws {
    var publisher = Publisher(rules: try Stage.rules("foo"), brake: Brake())
    #expect(throws: GateError.nothingToKeep) {
      _ = try publisher.perform(.freeze(cluster: nil), snapshot: .nothing, now: Timestamp(seconds: 1))
    }
  }
}

struct KeptVersionsTests {
  private func snapshot(_ names: [String]) -> Snapshot {
    Snapshot(
      collections: [gateway: Collection(names.map { Stage.resource(gateway, $0, 0) })], pending: [],
      isComplete: true,
      position: Position(origin: "o", sequence: 1, published: Timestamp(seconds: 1), path: []))
  }

  @Test func boundedByNumberAndAgeAndFoundByPrefix() throws {
    var kept = KeptVersions(versions: 3, age: .seconds(100))
    for second in 0..<5 {
      let next = snapshot((0...second).map { "foo/r\($0)" })
      kept.note(next, Merge.Change(), now: Timestamp(seconds: Int64(second)))
      kept.note(next, Merge.Change(), now: Timestamp(seconds: Int64(second)))
    }
    #expect(kept.all.map(\.resources) == [5, 4, 3])
    let oldest = kept.all[2].version
    #expect(try kept.find(String(oldest.description.prefix(8))).get().collections[gateway]?.count == 3)
    #expect(throws: VersionError.unknown("00000000")) { try kept.find("00000000").get() }
    kept.note(snapshot(["foo/z"]), Merge.Change(), now: Timestamp(seconds: 103))
    #expect(kept.all.map(\.resources) == [1, 5, 4])
    kept.erase([Merge.Revocation(source: "s", type: gateway, names: ["foo/r0"], namespaces: [])])
    #expect(kept.all.map(\.isCut) == [false, true, true])
    #expect(try kept.find(kept.all[1].version.description).get().collections[gateway]?.count == 4)
  }

  @Test(arguments: ["", "1234567", "ABCDEF01", "0123456g", "0123456789abcdef0123456789abcdef0"])
  func whatIsNoVersionIsRefused(text: String) {
    #expect(VersionError(checking: text) == .malformed(text))
    #expect(VersionError(checking: "01234567") == nil)
  }
}
