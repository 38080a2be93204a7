// Goal: a response leaves only after its record was written, whoever is slow; what ends a grant never waits; nothing
// is lost in silence. Method: a serve loop and staged clients on a virtual clock, and a lane whose writer is the test.

import Audit
import Downstream
import GRPC
import Policy
import Primitives
import Ring
import Snapshots
import Testing

@Suite struct AuditCrossingTests {
  private let both = ["a": "foo", "b": "bar"]

  private func stage(_ writer: StagedWriter, _ grants: [String: String]) throws -> Stage {
    let stage = try Stage(try rules(grants), audit: writer.lane)
    stage.publish([try resource("foo", "x"), try resource("bar", "y")])
    return stage
  }

  /// Time in which a working disk would have written everything many times over.
  private func wait(
    _ stage: Stage, _ writer: StagedWriter, _ time: Duration = .seconds(5), writing: Bool = true
  ) {
    for _ in 0..<50 {
      stage.network.run(for: time / 50)
      if writing { writer.take() }
    }
    stage.serving.handle(.beat)
    if writing { writer.take() }
  }

  @Test(arguments: StagedDialect.allCases)
  func nothingLeavesBeforeItsRecord(_ dialect: StagedDialect) throws {
    let writer = StagedWriter()
    let stage = try stage(writer, both)
    let a = try stage.client("a", dialect: dialect)
    stage.network.run(for: .seconds(5))
    #expect(a.responses == 0 && a.status == nil)
    writer.take(commits: false)
    #expect(writer.events.prefix(3) == ["connect", "subscribe", "deliver"])
    stage.network.run(for: .seconds(1))
    #expect(a.responses == 0, "taken is not written")
    writer.lane.commit(upTo: UInt64(writer.lines.count))
    #expect(stage.run { a.held == ["foo/x"] })
    wait(stage, writer)
    #expect(writer.count("ack") == writer.count("deliver"))
    let deliver = try #require(writer.lines.first { $0.contains("\"deliver\"") })
    #expect(
      deliver.contains(#""spiffeID":"spiffe://example.org/a","cluster":"a","type":"\#(dialect.typeName)""#))
    #expect(deliver.contains(#""sequence":1"#))
    // A change, and the end.
    stage.publish([try resource("foo", "z"), try resource("bar", "y")])
    wait(stage, writer)
    #expect(a.held == ["foo/z"])
    a.hangUp()
    wait(stage, writer)
    #expect(writer.events.last == "disconnect")
  }

  @Test func recordsOfAcksWaitForCompanyAndForABeat() throws {
    let writer = StagedWriter()
    let stage = try stage(writer, both)
    let a = try stage.client("a")
    wait(stage, writer)
    let acks = writer.count("ack")
    stage.publish([try resource("foo", "z"), try resource("bar", "y")])
    #expect(
      stage.run {
        writer.take()
        return a.held == ["foo/z"]
      })
    stage.network.run(for: .milliseconds(20))
    writer.take()
    #expect(writer.count("ack") == acks, "a wake of the writer for each ACK")
    stage.serving.handle(.beat)
    writer.take()
    #expect(writer.count("ack") == acks + 1)
    // What something waits for takes them along, in order.
    stage.publish([try resource("foo", "w"), try resource("bar", "y")])
    #expect(
      stage.run {
        writer.take()
        return a.held == ["foo/w"]
      })
    stage.network.run(for: .milliseconds(10))
    a.hangUp()
    stage.network.run(for: .milliseconds(10))
    writer.take()
    #expect(writer.events.suffix(3) == ["deliver", "ack", "disconnect"])
  }

  @Test func aDiskThatStopsHoldsDeliveriesAndGivesTheNewestAfterwards() throws {
    let writer = StagedWriter()
    let stage = try stage(writer, both)
    let a = try stage.client("a")
    wait(stage, writer)
    #expect(a.held == ["foo/x"])
    let before = a.responses
    for index in 0..<40 {
      stage.publish([try resource("foo", "v\(index)"), try resource("bar", "y")])
      wait(stage, writer, .seconds(1), writing: false)
    }
    #expect(a.responses == before && a.status == nil)
    wait(stage, writer)
    #expect(a.held == ["foo/v39"] && a.status == nil)
    // What waited was not a response for every change.
    #expect(a.responses - before < 10)
    #expect(writer.count("deliver") == a.responses)
  }

  @Test func revocationDoesNotWaitForADisk() throws {
    let writer = StagedWriter()
    let stage = try Stage(
      try rules(["a": "\"*\"", "b": "bar"]), audit: writer.lane)
    stage.publish([try resource("foo", "x"), try resource("bar", "y")])
    let (a, b) = (try stage.client("a"), try stage.client("b"))
    wait(stage, writer)
    #expect(a.held == ["foo/x", "bar/y"] && b.held == ["bar/y"])
    let began = stage.network.now
    // Narrowed, and gone; nothing can be written.
    stage.adopt(try rules(["a": "bar"]))
    #expect(stage.run(atMost: .seconds(3)) { a.status != nil && b.status != nil })
    #expect(a.status?.code == .unavailable && b.status?.code == .permissionDenied)
    #expect(try #require(a.endedAt) - began < .milliseconds(1500))
    #expect(try #require(b.endedAt) - began < .seconds(1))
    #expect(a.held == ["foo/x", "bar/y"], "what could not be recorded was not said")
    wait(stage, writer)
    #expect(
      writer.lines.contains { $0.contains("\"refuse\"") && $0.contains("could not be written in time") })
  }

  @Test func aFullLaneLetsNobodyInAndSaysNothingNew() throws {
    let writer = StagedWriter(bytes: 2000)
    let stage = try stage(writer, both)
    let a = try stage.client("a")
    wait(stage, writer)
    #expect(a.held == ["foo/x"])
    // Fills up with what ends; nobody writes.
    for _ in 0..<10 {
      let other = try stage.client("b")
      stage.network.run(for: .milliseconds(200))
      other.hangUp()
      stage.network.run(for: .milliseconds(200))
    }
    #expect(writer.lane.isFull)
    let late = try stage.client("b")
    #expect(stage.run { late.isClosed || late.dialReasons != nil })
    #expect(late.responses == 0)
    stage.publish([try resource("foo", "z"), try resource("bar", "y")])
    wait(stage, writer, writing: false)
    #expect(a.held == ["foo/x"] && a.status == nil)
    wait(stage, writer)
    #expect(a.held == ["foo/z"], "asked again as soon as there was room")
    let next = try stage.client("b")
    wait(stage, writer)
    #expect(next.held == ["bar/y"])
  }

  @Test func refusalsOfOneIdentityAreCountedAndNotRepeated() throws {
    let writer = StagedWriter()
    let stage = try stage(writer, both)
    for _ in 0..<8 {
      let stranger = try stage.client("nobody")
      wait(stage, writer, .seconds(1))
      stranger.hangUp()
      wait(stage, writer, .seconds(1))
    }
    let other = try stage.client("noone")
    wait(stage, writer)
    other.hangUp()
    #expect(writer.count("refuse") == 4)
    for _ in 0..<70 {
      stage.serving.handle(.beat)
      stage.loop.waker()
      wait(stage, writer, .seconds(1))
    }
    let refusals = writer.lines.filter { $0.contains("\"refuse\"") }
    #expect(refusals.count == 5)
    #expect(refusals.last?.contains("example.org/nobody") == true)
    #expect(refusals.last?.contains("\"omitted\":5") == true)
  }

  @Test func aRefusedResponseIsOnRecordWithItsReason() throws {
    let writer = StagedWriter()
    let stage = try stage(writer, both)
    let a = try stage.client("a")
    a.refusal = "no \"such\" thing\n"
    wait(stage, writer)
    let nack = try #require(writer.lines.first { $0.contains("\"nack\"") })
    #expect(nack.contains(#""reason":"no \"such\" thing\\u{a}""#))
    #expect(AuditLine(Array(nack.utf8)[...]) != nil)
  }

  @Test func aPartOfAViewNamesTheWhole() throws {
    let writer = StagedWriter()
    let stage = try stage(writer, ["a": "\"*\""])
    let a = try stage.client("a", dialect: .delta)
    wait(stage, writer)
    // Narrowed and changed at once: the removals go first, with a version of their own.
    stage.adopt(try rules(["a": "foo"]))
    stage.publish([try resource("foo", "x"), try resource("foo", "z"), try resource("bar", "y")])
    wait(stage, writer)
    #expect(a.held == ["foo/x", "foo/z"])
    let delivered = writer.lines.filter { $0.contains("\"deliver\"") }
    #expect(delivered.count >= 2)
    for line in delivered {
      let version = line.firstRange(of: "\"version\":\"").map { String(line[$0.upperBound...].prefix(32)) }
      #expect(version?.utf8.count == 32)
    }
  }
}
