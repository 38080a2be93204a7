// Goal: a relay that follows a classic source has what that source has, whatever the source's versions,
// changes and silences are worth; and what it gets wrong is refused or set aside. Method: hand-made
// messages of servers that behave as Galley was seen to.

import Primitives
import Snapshots
import Testing

@testable import MCP

struct MCPSinkTests {
  private let wall = Timestamp(seconds: 1_000)

  private func sink(
    _ kinds: [String] = ["VirtualService", "Gateway"], incremental: Bool = false,
    method: MCPMethod = .resourceSource
  ) -> MCPSink {
    MCPSink(
      MCPSink.Settings(
        method: method, isIncremental: incremental, kinds: kinds.map(kind), node: SinkNode(id: "edge"),
        source: "galley", upstream: "10.0.0.1:9901", limits: Limits()))
  }

  /// A sink that was served these before, and its first requests.
  private func sink(
    holding resources: [Resource], incremental: Bool = false
  ) throws -> (MCPSink, [SinkRequest]) {
    var sink = sink(incremental: incremental)
    let requests = try sink.begin(held: collections(resources), upstream: "up")
      .map { try SinkRequest($0, method: .resourceSource, namesMax: 10) }
    return (sink, requests)
  }

  private func message(
    _ resources: [Resource] = [], elements: [[UInt8]] = [], of collection: String = services,
    nonce: String = "n", version: String = "7", removed: [String] = [], incremental: Bool = false,
    method: MCPMethod = .resourceSource
  ) -> [UInt8] {
    var head = SourceHead()
    head.version = version
    head.collection = collection
    head.nonce = nonce
    head.removed = removed
    head.isIncremental = incremental
    let body = SourceBody.whole(Collection(resources), of: MCPCollection(collection), method: method)
    return head.encoded(method: method) + (body?.bytes ?? []) + elements.flatMap { $0 }
  }

  private func change(_ updates: [SourceUpdate]) throws -> (upserts: [String], removals: [String]) {
    guard case .change(_, let upserts, let removals)? = updates.first?.kind else {
      Issue.record("not a change")
      return ([], [])
    }
    return (upserts.map { "\($0.wireName)=\(String(decoding: $0.body, as: UTF8.self))" }, removals)
  }

  private func answer(_ sink: inout MCPSink, _ method: MCPMethod = .resourceSource) throws -> SinkRequest {
    let next = sink.nextRequest()
    let bytes = try #require(next)
    return try SinkRequest(bytes, method: method, namesMax: 10)
  }

  @Test func firstRequests() throws {
    let (_, whole) = try sink(holding: [virtualService("a", "1")])
    #expect(whole.map(\.collection) == [services, gateways])
    #expect(whole.allSatisfy { $0.nodeID == "edge" && $0.nonce.isEmpty && !$0.isIncremental })
    #expect(whole.allSatisfy { $0.initialVersions.isEmpty })
    let (_, changes) = try sink(holding: [virtualService("a", "1")], incremental: true)
    #expect(changes.allSatisfy { $0.isIncremental })
    #expect(changes[0].initialVersions == ["prod/a": virtualService("a", "1").version.description])
  }

  @Test func kindsTheClassicProtocolNeverHadAreNotAskedFor() {
    var everything = MCPSink(
      MCPSink.Settings(
        method: .resourceSource, isIncremental: false, kinds: Kinds.all + Kinds.classic,
        node: SinkNode(id: ""), source: "galley", upstream: "up", limits: Limits()))
    let asked = everything.begin(held: [:], upstream: "up").count
    #expect(asked == (Kinds.all + Kinds.classic).filter { $0.collection != nil }.count)
    #expect(!everything.unanswered.contains { $0.type.group == "gateway.networking.k8s.io" })
  }

  @Test func setsReplaceAndAreAcknowledged() throws {
    var (sink, _) = try sink(holding: [virtualService("a", "1"), virtualService("b", "1")])
    let updates = try sink.receive(
      message([virtualService("b", "2"), virtualService("c", "1")]), now: at(0), wallClock: wall)
    let change = try change(updates)
    #expect(change.upserts == ["prod/b=2", "prod/c=1"])
    #expect(change.removals == ["prod/a"])
    #expect(updates[0].source == "galley" && updates[0].position == nil && updates[0].removals == .source)
    let acknowledgement = try answer(&sink)
    #expect(acknowledgement.nonce == "n" && acknowledgement.fault == nil)
    #expect(acknowledgement.collection == services && acknowledgement.nodeID == "edge")
    #expect(sink.nextEvent() == .answered(typeURL: services))
  }

  @Test func changesAreApplied() throws {
    var (sink, _) = try sink(holding: [], incremental: true)
    _ = try sink.receive(
      message([virtualService("a", "1"), virtualService("b", "1")]), now: at(0), wallClock: wall)
    #expect(try answer(&sink).isIncremental)
    let updates = try sink.receive(
      message([virtualService("c", "1")], nonce: "m", removed: ["prod/a", "prod/never"], incremental: true),
      now: at(1), wallClock: wall)
    let change = try change(updates)
    #expect(change.upserts == ["prod/c=1"])
    #expect(change.removals == ["prod/a"])
  }

  /// Galley counts its versions from v0 again when it restarts.
  @Test func versionsThatRepeatWithOtherContentAreNoticed() throws {
    var (sink, _) = try sink(holding: [])
    _ = try sink.receive(
      message(elements: [element("prod/a", version: "v0", body: "old")], version: "0"), now: at(0),
      wallClock: wall)
    let same = try sink.receive(
      message(elements: [element("prod/a", version: "v1", body: "old")], version: "1"), now: at(1),
      wallClock: wall)
    #expect(try change(same).upserts.isEmpty, "another version of the same content is no change")
    let updates = try sink.receive(
      message(elements: [element("prod/a", version: "v0", body: "new")], version: "0"), now: at(2),
      wallClock: wall)
    #expect(try change(updates).upserts == ["prod/a=new"])
  }

  /// Galley writes the year 1 where it has no time: what was first seen when stays.
  @Test func theYearOneIsNoTime() throws {
    var (sink, _) = try sink(holding: [])
    let updates = try sink.receive(
      message(elements: [element("prod/a", seconds: -62_135_596_800)]), now: at(0), wallClock: wall)
    guard case .change(_, let upserts, _)? = updates.first?.kind else {
      Issue.record("not a change")
      return
    }
    #expect(upserts.map(\.createTime) == [wall])
    let later = try sink.receive(
      message(elements: [element("prod/a", seconds: -62_135_596_800, body: "2")]), now: at(9),
      wallClock: Timestamp(seconds: 2_000))
    guard case .change(_, let changed, _)? = later.first?.kind else {
      Issue.record("not a change")
      return
    }
    #expect(changed.map(\.createTime) == [wall])
  }

  @Test func legacyKindsAreRelayedAsTheyAre() throws {
    var sink = sink(["ClusterRbacConfig", "MeshConfig"])
    _ = sink.begin(held: [:], upstream: "up")
    let config = kind("ClusterRbacConfig")
    let updates = try sink.receive(
      message(
        elements: [element("default", kind: config, body: "\u{1}\u{2}")], of: config.collection ?? ""),
      now: at(0), wallClock: wall)
    #expect(try change(updates).upserts == ["default=\u{1}\u{2}"])
    let mesh = kind("MeshConfig")
    let meshUpdates = try sink.receive(
      message(elements: [element("istio-system/meshconfig", kind: mesh)], of: mesh.collection ?? ""),
      now: at(0), wallClock: wall)
    #expect(try change(meshUpdates).upserts == ["meshconfig=1"])
  }

  /// Galley ignores what we say we hold and sends everything as additions, without any removal.
  @Test func aSourceThatIgnoresWhatWeHoldSendsEverything() throws {
    var (sink, _) = try sink(
      holding: [virtualService("a", "1"), virtualService("b", "1")], incremental: true)
    let updates = try sink.receive(
      message([virtualService("a", "2")], version: "12", incremental: true), now: at(0), wallClock: wall)
    let change = try change(updates)
    #expect(change.upserts == ["prod/a=2"])
    #expect(change.removals == ["prod/b"])
    // From then on changes are changes.
    let next = try sink.receive(
      message([virtualService("c", "1")], nonce: "m", version: "13", incremental: true), now: at(1),
      wallClock: wall)
    #expect(try self.change(next).removals.isEmpty)
  }

  /// A server that makes the versions we make, one of ours, understands it.
  @Test func aSourceThatUnderstandsWhatWeHoldSendsTheDifference() throws {
    let held = [virtualService("a", "1"), virtualService("b", "1")]
    var (sink, _) = try sink(holding: held, incremental: true)
    let hash = Collection(held).version.description
    let updates = try sink.receive(
      message([virtualService("a", "2")], version: hash, incremental: true), now: at(0), wallClock: wall)
    #expect(try change(updates).removals.isEmpty)
  }

  @Test func doubtfulMessagesAreRefused() throws {
    var (sink, _) = try sink(holding: [virtualService("a", "1")])
    let twice = element("prod/a")
    #expect(
      try sink.receive(message(elements: [twice, twice]), now: at(0), wallClock: wall).isEmpty)
    let unasked = message([virtualService("a", "2")], nonce: "m", incremental: true)
    #expect(try sink.receive(unasked, now: at(0), wallClock: wall).isEmpty)
    for nonce in ["n", "m"] {
      let refusal = try answer(&sink)
      #expect(refusal.nonce == nonce && refusal.fault?.code == 3 && !refusal.isIncremental)
    }
    #expect(throws: MCPError.malformedResponse(.truncated(offset: 1))) {
      try sink.receive([0x0A], now: at(0), wallClock: wall)
    }
  }

  @Test func aBadObjectIsSetAsideAloneAndItsLastGoodVersionStays() throws {
    var (sink, _) = try sink(holding: [virtualService("a", "1"), virtualService("b", "1")])
    let updates = try sink.receive(
      message(elements: [element("prod/a", kind: kind("Gateway")), element("prod/c")]), now: at(0),
      wallClock: wall)
    let change = try change(updates)
    #expect(change.upserts == ["prod/c=1"])
    #expect(change.removals == ["prod/b"])
    #expect(updates[0].rejected.map(\.resource) == ["networking.istio.io/VirtualService prod/a"])
    #expect(updates[0].rejected.map(\.place) == ["up"])
    // What cannot be named might be anything: nothing is taken as gone.
    let unnamed = try sink.receive(
      message(elements: [[0x1A, 2, 0xFF, 0xFF]]), now: at(1), wallClock: wall)
    #expect(try self.change(unnamed).removals.isEmpty)
    #expect(unnamed[0].rejected.count == 1)
  }

  @Test func aSourceThatTurnsEmptyIsAFault() throws {
    var (sink, _) = try sink(holding: [virtualService("a", "1")])
    #expect(try sink.receive(message(), now: at(0), wallClock: wall).isEmpty)
    #expect(try answer(&sink).fault != nil)
    #expect(sink.nextEvent() == .answered(typeURL: services))
    #expect(sink.nextEvent() == .turnedEmpty(typeURL: services))
  }

  @Test func silenceOfOneKindDoesNotHoldUpTheSource() throws {
    var (sink, _) = try sink(holding: [])
    #expect(sink.nextDeadline() == nil)
    _ = try sink.receive(message(), now: at(0), wallClock: wall)
    #expect(sink.unanswered.map(\.type.kind) == ["Gateway"])
    #expect(sink.nextDeadline() == at(15))
    #expect(sink.deadlinePassed(now: at(14)).isEmpty)
    guard case .complete? = sink.deadlinePassed(now: at(15)).first?.kind else {
      Issue.record("not complete after its patience")
      return
    }
    #expect(sink.nextDeadline() == nil)
  }

  @Test func anUnsupportedCollectionIsDroppedAndTheRestAskedForAgain() throws {
    var (sink, _) = try sink(holding: [])
    let status = "unsupported collection \"\(gateways)\""
    #expect(sink.streamEnded(code: 14, message: status, now: at(0)).ending == .failed)
    #expect(sink.streamEnded(code: 3, message: "unsupported weather", now: at(0)).ending == .failed)
    let (ending, updates) = sink.streamEnded(code: 3, message: status, now: at(0))
    #expect(ending == .reopen(without: gateways))
    guard case .change(let type, let upserts, let removals)? = updates.first?.kind else {
      Issue.record("what the source does not have was not said to be empty")
      return
    }
    #expect(type == kind("Gateway").type && upserts.isEmpty && removals.isEmpty)
    #expect(sink.unsupported == [gateways])
    let again = try sink.reopen()
      .map { try SinkRequest($0, method: .resourceSource, namesMax: 10).collection }
    #expect(again == [services])
    // All that is left is answered: complete.
    let last = try sink.receive(message(), now: at(1), wallClock: wall)
    guard case .complete? = last.last?.kind else {
      Issue.record("not complete")
      return
    }
    // Nothing would be left to ask for.
    let none = sink.streamEnded(code: 3, message: "unsupported collection \(services)", now: at(2))
    #expect(none.ending == .failed)
  }

  @Test func whatWasNotKnownIsAskedForAgainLaterAndElsewhere() throws {
    var (sink, _) = try sink(holding: [])
    _ = sink.streamEnded(code: 3, message: "unsupported collection \(gateways)", now: at(0))
    func asked(_ upstream: String, _ second: Double) throws -> [String] {
      try sink.resume(upstream: upstream, now: at(second))
        .map { try SinkRequest($0, method: .resourceSource, namesMax: 10).collection }
    }
    #expect(try asked("up", 599) == [services])
    #expect(try asked("up", 600) == [services, gateways], "the server may have been replaced by a newer one")
    _ = sink.streamEnded(code: 3, message: "unsupported collection \(gateways)", now: at(601))
    #expect(try asked("other", 602) == [services, gateways])
  }

  // MARK: which words an aggregated server goes by

  private static let policies = "type.googleapis.com/istio.authentication.v1alpha1.Policy"
  private static let bodies = "type.googleapis.com/istio.networking.v1alpha3.VirtualService"
  private static let gatewayBodies = "type.googleapis.com/istio.networking.v1alpha3.Gateway"

  private func asked(_ requests: [[UInt8]]) throws -> [String] {
    try requests.map { try SinkRequest($0, method: .aggregated, namesMax: 10).collection }
  }

  private func hear(
    _ sink: inout MCPSink, _ collection: String, _ resources: [Resource] = [], at second: Double = 0
  ) throws -> [SourceUpdate] {
    let updates = try sink.receive(
      message(resources, of: collection, nonce: collection, method: .aggregated), now: at(second),
      wallClock: wall)
    let answer = try answer(&sink, .aggregated)
    #expect(answer.collection == collection && answer.nonce == collection && answer.fault == nil)
    return updates
  }

  private func isComplete(_ updates: [SourceUpdate]) -> Bool {
    updates.contains { if case .complete = $0.kind { true } else { false } }
  }

  @Test func istio10IsAskedInItsOwnWords() throws {
    var sink = sink(["MeshPolicy", "Policy", "VirtualService"], method: .aggregated)
    let first = try asked(sink.begin(held: [:], upstream: "up"))
    #expect(first.count == 5 && first[2] == services)
    #expect(Array(first[3...]) == [MCPSinkTests.policies, MCPSinkTests.bodies])
    // What not every server has proves nothing of the names.
    #expect(
      sink.streamEnded(code: 3, message: "unsupported type_url \(first[1])", now: at(0)).updates.isEmpty)
    #expect(try asked(sink.reopen()) == [first[0], services, MCPSinkTests.bodies])
    let (ending, updates) = sink.streamEnded(
      code: 3, message: "unsupported type_url \"\(services)\"", now: at(0))
    #expect(ending == .reopen(without: services))
    #expect(updates.count == 1, "MeshPolicy cannot be told from Policy by its body")
    // Also what was refused under the name that it does not use.
    #expect(try asked(sink.reopen()) == [MCPSinkTests.policies, MCPSinkTests.bodies])
    let received = try hear(&sink, MCPSinkTests.bodies, [virtualService("a", "1")], at: 1)
    #expect(try change(received).upserts == ["prod/a=1"])
    // Now a name that is not known is one that is not there.
    let second = sink.streamEnded(
      code: 3, message: "unsupported type_url \"\(MCPSinkTests.policies)\"", now: at(2))
    #expect(second.ending == .reopen(without: MCPSinkTests.policies))
    #expect(try asked(sink.resume(upstream: "up", now: at(3))) == [MCPSinkTests.bodies])
    #expect(try asked(sink.resume(upstream: "other", now: at(4))) == first)
  }

  @Test func aServerThatRefusesItsOlderWordsGoesByTheNewer() throws {
    var sink = sink(["VirtualService", "Gateway"], method: .aggregated)
    _ = sink.begin(held: [:], upstream: "up")
    let refusal = sink.streamEnded(
      code: 3, message: "unsupported collection \(MCPSinkTests.bodies)", now: at(0))
    #expect(refusal.ending == .reopen(without: MCPSinkTests.bodies) && refusal.updates.isEmpty)
    #expect(try asked(sink.reopen()) == [services, gateways])
    #expect(try !isComplete(hear(&sink, services)))
    #expect(try isComplete(hear(&sink, gateways)))
  }

  /// One that answers names it does not know with nothing must not be taken for one that has nothing.
  @Test func aServerIsKnownByWhatItHas() throws {
    var old = sink(["VirtualService", "Gateway"], method: .aggregated)
    _ = old.begin(held: [:], upstream: "up")
    for name in [services, gateways, MCPSinkTests.gatewayBodies] {
      #expect(try hear(&old, name).isEmpty == (name != MCPSinkTests.gatewayBodies))
    }
    let updates = try hear(&old, MCPSinkTests.bodies, [virtualService("a", "1")])
    #expect(try change(updates).upserts == ["prod/a=1"] && isComplete(updates))
    // Kinds that it cannot name hold up nothing.
    var nameless = sink(["MeshPolicy", "VirtualService"], method: .aggregated)
    _ = nameless.begin(held: [:], upstream: "up")
    #expect(try isComplete(hear(&nameless, MCPSinkTests.bodies, [virtualService("a", "1")])))
    #expect(nameless.unanswered.isEmpty)
    // What it says in words that it does not go by is of no interest.
    #expect(try hear(&old, services).isEmpty)
    #expect(try change(hear(&old, MCPSinkTests.bodies, [virtualService("b", "1")])).removals == ["prod/a"])

    var new = sink(["VirtualService", "Gateway"], method: .aggregated)
    _ = new.begin(held: [:], upstream: "up")
    #expect(try hear(&new, gateways).isEmpty, "it may have some under the other name")
    let all = try hear(&new, services, [virtualService("a", "1")])
    #expect(all.count == 3 && isComplete(all), "so the gateways' answer was meant")
  }

  @Test func whatIsHeldIsNotLostToTheWrongWord() throws {
    var sink = sink(["VirtualService", "Gateway"], method: .aggregated)
    _ = sink.begin(held: collections([virtualService("a", "1")]), upstream: "up")
    #expect(try hear(&sink, services).isEmpty)
    #expect(sink.nextEvent() == nil)
    let updates = try hear(&sink, MCPSinkTests.bodies, [virtualService("a", "1"), virtualService("b", "1")])
    #expect(try change(updates).removals.isEmpty)
    #expect(sink.nextEvent() == .answered(typeURL: MCPSinkTests.bodies))
    // Nothing under either name: a fault, as ever.
    _ = sink.resume(upstream: "other", now: at(1))
    #expect(try hear(&sink, services).isEmpty)
    #expect(try hear(&sink, MCPSinkTests.bodies).isEmpty)
    #expect(sink.nextEvent() == .turnedEmpty(typeURL: services))
  }

  @Test func aServerThatHasNothingIsCompleteAllTheSame() throws {
    var talkative = sink(["VirtualService", "Gateway"], method: .aggregated)
    _ = talkative.begin(held: [:], upstream: "up")
    for name in [services, gateways, MCPSinkTests.bodies] { #expect(try !isComplete(hear(&talkative, name))) }
    #expect(try isComplete(hear(&talkative, MCPSinkTests.gatewayBodies)))
    // And one that says nothing at all to names it does not know.
    var terse = sink(["VirtualService", "Gateway"], method: .aggregated)
    _ = terse.begin(held: [:], upstream: "up")
    for name in [services, gateways] { #expect(try hear(&terse, name).isEmpty) }
    #expect(terse.nextDeadline() == at(15) && terse.deadlinePassed(now: at(14)).isEmpty)
    let updates = terse.deadlinePassed(now: at(15))
    #expect(updates.count == 3 && isComplete(updates) && terse.unanswered.isEmpty)
  }

  @Test func anEndWithoutAReasonIsTriedWithOtherWords() throws {
    var sink = sink(["VirtualService", "Gateway"], method: .aggregated)
    let both = try asked(sink.begin(held: [:], upstream: "up"))
    var tries: [[String]] = []
    for _ in 0..<3 {
      #expect(sink.streamEnded(code: 3, message: "what is that?", now: at(0)).ending == .failed)
      tries.append(try asked(sink.resume(upstream: "up", now: at(0))))
    }
    #expect(tries == [[services, gateways], [MCPSinkTests.bodies, MCPSinkTests.gatewayBodies], both])
    _ = sink.streamEnded(code: 14, message: "restarting", now: at(0))
    #expect(try asked(sink.resume(upstream: "up", now: at(0))) == both)
  }

  @Test func whatWasNotAskedForIsRefusedAsUnknown() throws {
    var (sink, _) = try sink(holding: [])
    for (collection, isReported) in [("acme/v1/things", true), (MCPCollection.trigger, false)] {
      #expect(try sink.receive(message(of: collection), now: at(0), wallClock: wall).isEmpty)
      let refusal = try answer(&sink)
      #expect(refusal.collection == collection && refusal.fault?.code == 12)
      #expect((sink.nextEvent() == .unexpected(typeURL: collection)) == isReported)
    }
  }

  @Test func tooMuchToSayIsAskedForAnew() throws {
    let held = (0..<20_000).map { virtualService("a-rather-long-name-to-say-\($0)", "1") }
    let (_, requests) = try sink(holding: Array(held.prefix(5)), incremental: true)
    #expect(requests[0].initialVersions.count == 5)
    var (sink, many) = try sink(holding: held, incremental: true)
    #expect(many[0].isIncremental && many[0].initialVersions.isEmpty)
    // The answer is everything there is, even as a change of a server that understands what we hold.
    let hash = Collection(Array(held.prefix(1))).version.description
    let updates = try sink.receive(
      message(Array(held.prefix(1)), version: hash, incremental: true), now: at(0), wallClock: wall)
    #expect(try change(updates).removals.count == held.count - 1)
  }

  /// An element as a foreign server writes it.
  private func element(
    _ name: String, kind: Kind = kind("VirtualService"), version: String = "v0", seconds: Int64 = 5,
    body: String = "1"
  ) -> [UInt8] {
    var writer = ProtobufWriter()
    writer.message(3) { envelope in
      envelope.message(1) { metadata in
        metadata.string(1, name)
        metadata.message(2) { $0.integer(1, seconds) }
        metadata.string(3, version)
      }
      envelope.message(2) { any in
        any.string(1, "type.googleapis.com/" + kind.bodyMessage)
        any.data(2, Array(body.utf8))
      }
    }
    return writer.bytes
  }
}
