// Goal: a relay that follows another one has what that one serves, over lost streams and in both
// dialects; and what an upstream gets wrong is refused, set aside or ends the stream as written.
// Method: our own server at the other end of seeded histories; hand-made responses for the rest.

import Primitives
import Snapshots
import Testing

@testable import XDS

struct ADSSubscriberTests {
  private let wall = Timestamp(seconds: 1_000)

  private func settings(
    _ dialect: ADSDialect, _ kinds: [String] = ["VirtualService", "Gateway"]
  ) -> ADSSubscriber.Settings {
    ADSSubscriber.Settings(
      dialect: dialect, types: kinds.compactMap { Kinds[type($0)]?.typeURL }, node: Node(id: "edge"),
      source: "central", upstream: "10.0.0.1:15010", instance: "me", limits: Limits())
  }

  @Test(arguments: UInt64(1)...20, [ADSDialect.stateOfTheWorld, .delta])
  func followsAServer(seed: UInt64, dialect: ADSDialect) throws {
    var generator = SeededGenerator(seed: seed)
    var subscriber = ADSSubscriber(settings(dialect))
    var merge = Merge(sources: [
      MergeSource(name: "central", listsEverything: false, supplies: { $0.group == networking })
    ])
    var server = ADSServer(dialect: dialect, limits: Limits())
    var bodies: [String: String] = [:]
    var now = at(0)
    var waiting: [[UInt8]] = []
    var number: UInt64 = 0
    for step in 0..<80 {
      if step % 5 == 0 {
        for _ in 0..<4 {
          let name = "r\(Int.random(in: 0..<12, using: &generator))"
          bodies[name] = Bool.random(using: &generator) ? nil : "b\(Int.random(in: 0..<4, using: &generator))"
        }
        number += 1
      }
      if step == 0 || Int.random(in: 0..<12, using: &generator) == 0 {
        server = ADSServer(dialect: dialect, limits: Limits())
        waiting = subscriber.begin(held: merge.held(by: "central"), positions: [:], upstream: "other")
      }
      server.update(
        view(number, ["VirtualService": bodies.map { resource("VirtualService", $0.key, $0.value) }]))
      if !waiting.isEmpty { try server.receive(waiting.removeFirst(), now: now) }
      server.deadlinePassed(now: now)
      while let response = try server.nextResponse(now: now) {
        let updates = try subscriber.receive(response.bytes, now: now, wallClock: wall)
        for update in updates { _ = merge.apply(update) }
      }
      while let request = subscriber.nextRequest() { waiting.append(request) }
      now = now + .seconds(1)
    }
    while !waiting.isEmpty {
      try server.receive(waiting.removeFirst(), now: now)
      while let response = try server.nextResponse(now: now) {
        let updates = try subscriber.receive(response.bytes, now: now, wallClock: wall)
        for update in updates { _ = merge.apply(update) }
      }
      while let request = subscriber.nextRequest() { waiting.append(request) }
    }
    let expected = Collection(bodies.map { resource("VirtualService", $0.key, $0.value) })
    let snapshot = merge.snapshot(at: position())
    guard case .ready(let reached) = snapshot.state(of: type("VirtualService")) else {
      Issue.record("seed \(seed): never answered")
      return
    }
    #expect(reached.version == expected.version, "seed \(seed) \(dialect)")
    #expect(reached.body(.whole).bytes == expected.body(.whole).bytes, "equal on every tier")
    #expect(snapshot.isComplete)
  }

  /// One element, as any server might send it.
  private func element(_ resource: Resource, _ dialect: ADSDialect) -> [UInt8] {
    dialect == .delta ? resource.encoded : Array(resource.encoded[Int(resource.segment.inner)...])
  }

  private func response(
    _ elements: [[UInt8]], nonce: String = "n", version: String = "v", removed: [String] = [],
    kind: String = "VirtualService", from position: Position? = nil, content: Position? = nil,
    isPartial: Bool = false, _ dialect: ADSDialect = .stateOfTheWorld
  ) -> [UInt8] {
    var writer = ProtobufWriter()
    writer.string(1, version)
    for element in elements { writer.raw(element) }
    writer.string(4, Kinds[type(kind)]?.typeURL.text ?? "")
    writer.string(5, nonce)
    for name in removed { writer.presentString(6, name) }
    if let position {
      let plane = ControlPlane(
        node: "up", position: position, content: content, isPartial: isPartial, removals: nil
      ).json
      writer.message(dialect == .delta ? 7 : 6) { $0.string(1, plane) }
    }
    return writer.bytes
  }

  private func answer(_ subscriber: inout ADSSubscriber) throws -> DiscoveryRequest {
    let next = subscriber.nextRequest()
    let bytes = try #require(next)
    return try DiscoveryRequest(bytes, namesMax: 10)
  }

  private func subscriber(holding resources: [Resource], _ dialect: ADSDialect = .stateOfTheWorld)
    -> ADSSubscriber
  {
    var subscriber = ADSSubscriber(settings(dialect))
    _ = subscriber.begin(
      held: [type("VirtualService"): Collection(resources)], positions: [:], upstream: "up")
    return subscriber
  }

  @Test func firstRequests() throws {
    var subscriber = ADSSubscriber(settings(.delta))
    let held = [type("VirtualService"): Collection([resource("VirtualService", "a", "1")])]
    let requests = try subscriber.begin(held: held, positions: [:], upstream: "up")
      .map { try DeltaDiscoveryRequest($0, namesMax: 10) }
    #expect(requests.map(\.nodeID) == ["edge", nil])
    #expect(
      requests[0].initialVersions == ["prod/a": resource("VirtualService", "a", "1").version.description])
    #expect(requests.allSatisfy { $0.nonce.isEmpty && $0.subscribe.isEmpty })
  }

  @Test func aBadObjectIsSetAsideAloneAndItsLastGoodVersionStays() throws {
    let (a, b) = (resource("VirtualService", "a", "1"), resource("VirtualService", "b", "1"))
    var subscriber = subscriber(holding: [a, b])
    let bad = ProtobufWriter.fields { writer in
      writer.message(2) { any in
        any.string(1, "type.googleapis.com/istio.mcp.v1alpha1.Resource")
        any.message(2) { envelope in
          envelope.message(1) { $0.string(1, "prod/a") }
          envelope.message(2) { $0.string(1, "type.googleapis.com/istio.networking.v1alpha3.Gateway") }
        }
      }
    }
    let c = resource("VirtualService", "c", "1")
    let updates = try subscriber.receive(
      response([bad, element(c, .stateOfTheWorld)]), now: at(0), wallClock: wall)
    #expect(updates.count == 1)
    #expect(updates[0].rejected.map(\.resource) == ["networking.istio.io/VirtualService prod/a"])
    guard case .change(_, let upserts, let removals) = updates[0].kind else {
      Issue.record("not a change")
      return
    }
    #expect(upserts.map(\.wireName) == ["prod/c"])
    #expect(removals == ["prod/b"])
    #expect(try answer(&subscriber).fault == nil)
  }

  @Test func whereAnObjectCannotBeNamedNothingIsTakenAsGone() throws {
    var subscriber = subscriber(holding: [resource("VirtualService", "a", "1")])
    let unreadable = ProtobufWriter.fields { writer in
      writer.message(2) { any in
        any.string(1, "type.googleapis.com/istio.mcp.v1alpha1.Resource")
        any.data(2, [0xFF])
      }
    }
    let updates = try subscriber.receive(response([unreadable]), now: at(0), wallClock: wall)
    guard case .change(_, let upserts, let removals)? = updates.first?.kind else {
      Issue.record("not a change")
      return
    }
    #expect(upserts.isEmpty && removals.isEmpty)
    #expect(updates[0].rejected.count == 1)
  }

  @Test(arguments: [ADSDialect.stateOfTheWorld, .delta])
  func doubtfulResponsesAreRefused(dialect: ADSDialect) throws {
    let a = resource("VirtualService", "a", "1")
    var subscriber = subscriber(holding: [a], dialect)
    let double = response([element(a, dialect), element(a, dialect)], dialect)
    #expect(try subscriber.receive(double, now: at(0), wallClock: wall).isEmpty)
    let broken = response([[0x12, 1, 0xFF]], nonce: "m", dialect)
    #expect(try subscriber.receive(broken, now: at(0), wallClock: wall).isEmpty)
    for nonce in ["n", "m"] {
      let next = subscriber.nextRequest()
      let bytes = try #require(next)
      switch dialect {
      case .stateOfTheWorld:
        let request = try DiscoveryRequest(bytes, namesMax: 10)
        #expect(request.nonce == nonce && request.fault?.code == 3 && request.versionInfo.isEmpty)
      case .delta:
        let request = try DeltaDiscoveryRequest(bytes, namesMax: 10)
        #expect(request.nonce == nonce && request.fault?.code == 3)
      }
    }
    if dialect == .delta {
      let both = response([element(a, dialect)], removed: ["prod/a"], dialect)
      #expect(try subscriber.receive(both, now: at(0), wallClock: wall).isEmpty)
    }
  }

  @Test func aForeignUpstreamThatTurnsEmptyIsAFault() throws {
    let a = resource("VirtualService", "a", "1")
    var subscriber = subscriber(holding: [a])
    #expect(try subscriber.receive(response([]), now: at(0), wallClock: wall).isEmpty)
    #expect(try answer(&subscriber).fault != nil)
    var events: [ADSSubscriberEvent] = []
    while let event = subscriber.nextEvent() { events.append(event) }
    #expect(events.contains(.turnedEmpty(typeURL: "networking.istio.io/v1/VirtualService")))
    // Our own relays say what they mean.
    let own = try subscriber.receive(response([], from: position()), now: at(0), wallClock: wall)
    guard case .change(_, _, let removals)? = own.first?.kind else {
      Issue.record("not a change")
      return
    }
    #expect(removals == ["prod/a"])
  }

  @Test func loopsAndStepsBackEndTheStream() throws {
    let a = resource("VirtualService", "a", "1")
    func receive(_ offered: Position, held: Position, changed: Bool = true) throws -> [SourceUpdate] {
      var subscriber = ADSSubscriber(settings(.stateOfTheWorld))
      let collection = changed ? Collection.empty : Collection([a])
      _ = subscriber.begin(
        held: [type("VirtualService"): collection],
        positions: [type("VirtualService"): held], upstream: "up")
      return try subscriber.receive(
        response([element(a, .stateOfTheWorld)], from: offered), now: at(0), wallClock: wall)
    }
    let held = position(sequence: 100)
    #expect(throws: ADSError.loop(upstream: "up")) {
      try receive(position(sequence: 101, path: ["i1", "me"]), held: held)
    }
    #expect(throws: ADSError.behind(upstream: "up", offered: 99, held: 100)) {
      try receive(position(sequence: 99), held: held)
    }
    #expect(throws: ADSError.otherOrigin(upstream: "up", offered: "backup", held: "mesh")) {
      try receive(position(sequence: 50, origin: "backup"), held: held)
    }
    #expect(throws: ADSError.fromTheFuture(upstream: "up", offered: 9_999_999)) {
      try receive(position(sequence: 9_999_999), held: held)
    }
    #expect(try receive(position(sequence: 99), held: held, changed: false).count == 1)
    #expect(try receive(position(sequence: 101), held: held).first?.position?.sequence == 101)
  }

  @Test func anOperatorsWordTakesOverWhatIsOlderOrEmptyOnce() throws {
    let (old, new) = (resource("VirtualService", "a", "1"), resource("VirtualService", "a", "2"))
    var subscriber = subscriber(holding: [new])
    _ = try subscriber.receive(
      response([element(new, .stateOfTheWorld)], from: position(sequence: 100)), now: at(0), wallClock: wall)
    let behind = response([element(old, .stateOfTheWorld)], from: position(sequence: 50))
    #expect(throws: ADSError.self) { try subscriber.receive(behind, now: at(0), wallClock: wall) }
    subscriber.adoptNextStream()
    _ = subscriber.resume(upstream: "up")
    #expect(try subscriber.receive(behind, now: at(0), wallClock: wall).first?.content?.sequence == 50)
    // It is the measure of what follows.
    let older = response([element(new, .stateOfTheWorld)], from: position(sequence: 49))
    #expect(throws: ADSError.behind(upstream: "up", offered: 49, held: 50)) {
      try subscriber.receive(older, now: at(0), wallClock: wall)
    }
    // Empty, from somebody who cannot say why.
    _ = subscriber.resume(upstream: "up")
    #expect(try subscriber.receive(response([]), now: at(0), wallClock: wall).isEmpty)
    subscriber.adoptNextStream()
    _ = subscriber.resume(upstream: "up")
    let updates = try subscriber.receive(response([]), now: at(0), wallClock: wall)
    guard case .change(_, _, let removals)? = updates.first?.kind else {
      Issue.record("the empty answer is still a fault")
      return
    }
    #expect(removals == ["prod/a"])
  }

  /// A relay that is new in one type and old in another must not be believed for both.
  @Test func eachTypeStandsWhereItsOwnContentStands() throws {
    let (old, new) = (resource("VirtualService", "a", "1"), resource("VirtualService", "a", "2"))
    var subscriber = ADSSubscriber(settings(.stateOfTheWorld))
    _ = subscriber.begin(
      held: [type("VirtualService"): Collection([new])],
      positions: [type("VirtualService"): position(sequence: 100)], upstream: "up")
    #expect(throws: ADSError.behind(upstream: "up", offered: 99, held: 100)) {
      try subscriber.receive(
        response(
          [element(old, .stateOfTheWorld)], from: position(sequence: 200), content: position(sequence: 99)),
        now: at(0), wallClock: wall)
    }
    // Of a type that was never held, anything is newer.
    let gateway = resource("Gateway", "g", "1")
    let updates = try subscriber.receive(
      response(
        [element(gateway, .stateOfTheWorld)], kind: "Gateway", from: position(sequence: 200),
        content: position(sequence: 50)),
      now: at(0), wallClock: wall)
    #expect(updates.first?.position?.sequence == 200)
    #expect(updates.first?.content?.sequence == 50)
  }

  @Test func whatIsOnItsWayStandsWhereItStoodBefore() throws {
    let (a, b) = (resource("VirtualService", "a", "1"), resource("VirtualService", "b", "1"))
    var subscriber = ADSSubscriber(settings(.stateOfTheWorld))
    _ = subscriber.begin(
      held: [type("VirtualService"): Collection([a, b])],
      positions: [type("VirtualService"): position(sequence: 100)], upstream: "up")
    let first = try subscriber.receive(
      response([element(a, .stateOfTheWorld)], from: position(sequence: 101), isPartial: true),
      now: at(0), wallClock: wall)
    #expect(first.first?.content?.sequence == 100)
    let second = try subscriber.receive(
      response([], from: position(sequence: 101)), now: at(0), wallClock: wall)
    #expect(second.first?.content?.sequence == 101)
  }

  @Test func silenceOfOneTypeDoesNotHoldUpTheSource() throws {
    var subscriber = ADSSubscriber(settings(.delta))
    _ = subscriber.begin(held: [:], positions: [:], upstream: "up")
    #expect(subscriber.nextDeadline() == nil, "nothing was answered yet")
    _ = try subscriber.receive(response([], .delta), now: at(0), wallClock: wall)
    #expect(subscriber.unanswered.map(\.text) == ["networking.istio.io/v1/Gateway"])
    #expect(subscriber.nextDeadline() == at(15))
    #expect(subscriber.deadlinePassed(now: at(14)).isEmpty)
    guard case .complete? = subscriber.deadlinePassed(now: at(15)).first?.kind else {
      Issue.record("not complete after its patience")
      return
    }
    #expect(subscriber.nextDeadline() == nil)
  }

  @Test func tooMuchToSayIsAskedForAnew() throws {
    var limited = settings(.delta)
    limited.limits.requestBytes = 200
    var subscriber = ADSSubscriber(limited)
    let held = Collection((0..<10).map { resource("VirtualService", "r\($0)", "1") })
    let requests = subscriber.begin(held: [type("VirtualService"): held], positions: [:], upstream: "up")
    #expect(try DeltaDiscoveryRequest(requests[0], namesMax: 10).initialVersions.isEmpty)
    // The answer is everything there is, so what is not in it is gone.
    let updates = try subscriber.receive(
      response([element(resource("VirtualService", "r3", "1"), .delta)], from: position(), .delta),
      now: at(0), wallClock: wall)
    guard case .change(_, let upserts, let removals)? = updates.first?.kind else {
      Issue.record("not a change")
      return
    }
    #expect(upserts.isEmpty)
    #expect(removals.count == 9)
  }
}

extension ProtobufWriter {
  static func fields(_ body: (inout ProtobufWriter) -> Void) -> [UInt8] {
    var writer = ProtobufWriter()
    body(&writer)
    return writer.bytes
  }
}
