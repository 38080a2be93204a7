// Goal: what was announced is delivered as it was announced or not at all, whatever happens while its records wait.
// Method: a story per case, with a lane whose writer is the test.

import Audit
import Gates
import Policy
import Primitives
import Ring
import Snapshots
import Testing

@testable import Downstream

struct AnnouncementTests {
  private let writer = StagedWriter()

  private func write(_ stage: Stage, _ time: Duration = .seconds(2)) {
    for _ in 0..<40 {
      stage.network.run(for: time / 40)
      writer.take()
    }
  }

  /// A client at rest, and an announcement for it that waits.
  private func announced(
    _ rules: PolicyRules, _ before: [Resource], _ after: [Resource], asking also: [String] = []
  ) throws -> (Stage, StagedClient) {
    let stage = try Stage(rules, audit: writer.lane)
    stage.publish(before)
    let a = try stage.client("a", dialect: .delta)
    write(stage)
    for type in also { a.ask(for: type) }
    write(stage)
    stage.publish(after)
    stage.network.run(for: .milliseconds(10))
    #expect(stage.serving.announcement != nil, "it is announced")
    return (stage, a)
  }

  @Test func moreClassesMayComeTogetherWithTheRecords() throws {
    let (stage, a) = try announced(
      try rules(["a": "foo"]), [try resource("foo", "x")], [try resource("foo", "y")])
    // The class of `a` has a number now that no class had before; its loop hears of both at once.
    writer.take(commits: false)
    stage.adopt(try rules(["0": "bar", "1": "baz", "a": "foo"]))
    writer.commit()
    write(stage)
    #expect(a.held == ["foo/y"] && a.status == nil)
    stage.publish([try resource("foo", "z")])
    write(stage)
    #expect(a.held == ["foo/z"])
  }

  @Test func whatIsNoLongerGrantedIsNotDeliveredThoughItWasAnnounced() throws {
    let (stage, a) = try announced(
      try rules(["a": "foo, bar"]), [try resource("foo", "x")],
      [try resource("foo", "x"), try resource("bar", "secret")])
    var heard: Set<String> = []
    a.onResponse = { heard.formUnion($0.names) }
    writer.take(commits: false)
    stage.adopt(try rules(["a": "foo"]))
    writer.commit()
    write(stage)
    #expect(a.held == ["foo/x"] && a.status == nil)
    #expect(!heard.contains("bar/secret"))
  }

  @Test func aStreamThatBeganLaterDoesNotGoBack() throws {
    let (stage, a) = try announced(
      try rules(["a": "foo"]), [try resource("foo", "x"), try resource("bar", "y")],
      [try resource("foo", "z"), try resource("bar", "y")])
    writer.take(commits: false)
    stage.adopt(try rules(["a": "foo, bar"]))
    stage.network.run(for: .milliseconds(10))
    var removed: [String] = []
    a.onResponse = { removed += $0.removed }
    a.openStream()
    stage.network.run(for: .milliseconds(10))
    write(stage)
    #expect(a.held == ["foo/z", "bar/y"])
    #expect(!removed.contains("bar/y"), "given with the newer view, taken with the older one")
  }

  @Test func recordsSayWhereTheViewOfTheClientStands() throws {
    let text = ["v1beta1", "v1alpha3"].map { "networking.istio.io/\($0)/VirtualService" }
    let stage = try Stage(try rules(["a": "foo", "b": "foo"]), audit: writer.lane)
    stage.publish([try resource("foo", "x"), try resource("bar", "y")])
    #expect(stage.perform(.freeze(cluster: "b")))
    // Of the frozen cluster the same content stands where it stood.
    stage.publish([try resource("foo", "x"), try resource("bar", "z")])
    let (a, b) = (try stage.client("a"), try stage.client("b"))
    write(stage)
    for type in text {
      a.ask(for: type)
      b.ask(for: type)
    }
    write(stage)
    for (name, sequence) in [("a", "2"), ("b", "1")] {
      let delivered = writer.lines.filter {
        $0.contains("\"deliver\"") && $0.contains("\"cluster\":\"\(name)\"")
      }
      #expect(delivered.count == 3)
      #expect(delivered.allSatisfy { StagedWriter.value("sequence", of: $0) == sequence }, "\(delivered)")
    }
  }

  @Test func aNumberIsNotGivenAgainWhileWhatWasSaidOfItIsUsed() throws {
    // More contents at once than one memory of pieces has room for.
    let clusters = 0..<90
    let names = clusters.map { "c\($0)" }
    let namespaces = Dictionary(uniqueKeysWithValues: clusters.map { ("c\($0)", "n\($0)") })
    let types = ["v1alpha3", "v1beta1"].map { "networking.istio.io/\($0)/VirtualService" }
    let stage = try Stage(try rules(namespaces), audit: writer.lane)
    func publish(_ name: String) throws { stage.publish(try clusters.map { try resource("n\($0)", name) }) }
    try publish("v0")
    let clients = try (names + names).map { try stage.client($0, dialect: .stateOfTheWorld) }
    write(stage)
    for client in clients { for type in types { client.ask(for: type) } }
    write(stage)
    for round in 1..<6 {
      try publish("v\(round)")
      write(stage, .seconds(1))
    }
    for (name, client) in zip(names, clients) { #expect(client.held == ["n\(name.dropFirst())/v5"]) }
    // Of each cluster its own versions only.
    var clusterByVersion: [String: String] = [:]
    for line in writer.lines where line.contains("\"deliver\"") {
      let version = try #require(StagedWriter.value("version", of: line))
      let cluster = try #require(StagedWriter.value("cluster", of: line))
      #expect(clusterByVersion[version, default: cluster] == cluster, "\(line)")
      clusterByVersion[version] = cluster
    }
  }

  /// A response without its record would leave otherwise.
  @Test func aForecastHoldsWhatItNamesAndNothingElse() {
    func response(_ typeURL: String, _ version: String, view: UInt64) -> StreamResponse {
      StreamResponse(
        typeURL: typeURL, version: version, nonce: "1", head: [], body: nil, resources: 0, removed: 0,
        removals: nil, view: view)
    }
    var (numbers, batch) = (PieceNumbers(), AuditBatch())
    let what = numbers.name(AuditPiece(type: "t", version: "v"), in: &batch)
    let forecast = Forecast(
      [.init(typeURL: "t", version: "v", what: what), .init(typeURL: "u", version: "w", what: what)], view: 7)
    #expect(forecast.holds(response("t", "v", view: 7)) && forecast.holds(response("u", "w", view: 7)))
    #expect(!forecast.holds(response("t", "v", view: 8)), "the same of another view is another record")
    #expect(!forecast.holds(response("t", "w", view: 7)), "a part of the content, or more than it")
    #expect(!forecast.holds(response("x", "v", view: 7)), "another type")
  }
}
