// Goal: no bytes of a peer ever trap, at either end and in any method. Method: whole messages damaged in a
// few places, and random bytes, from a printed seed.

import Primitives
import Snapshots
import Testing

@testable import MCP

struct MessageTests {
  @Test(arguments: MCPMethod.allCases, [UInt64(3), 4])
  func randomBytesNeverTrap(method: MCPMethod, seed: UInt64) throws {
    var generator = SeededGenerator(seed: seed)
    var source = MCPSource(method: method, limits: Limits())
    source.update(view(1, [virtualService("a", "1"), virtualService("b", "2")]))
    let asked = request(services, holds: ["prod/c": "1"], incremental: true)
      .encoded(method: method, node: SinkNode(id: "edge", annotations: ["zone": "a"]))
    try source.receive(asked, now: at(0))
    let first = try source.nextResponse(now: at(0))
    let response = try #require(first).bytes
    // Responses of that method are read by nobody here; its bytes go to a sink of another one.
    let sinkMethod = method == .incrementalAggregated ? .resourceSource : method
    var sink = MCPSink(
      MCPSink.Settings(
        method: sinkMethod, isIncremental: true, kinds: Kinds.all, node: SinkNode(id: "edge"), source: "s",
        upstream: "up", limits: Limits()))
    _ = sink.begin(held: collections([virtualService("c", "1")]), upstream: "up")
    var answered = 0
    for _ in 0..<5_000 {
      try? source.receive(damaged(asked, &generator), now: at(1))
      _ = try? source.nextResponse(now: at(1))
      let updates = try? sink.receive(
        damaged(response, &generator), now: at(1), wallClock: Timestamp(seconds: 10_000))
      answered += updates?.isEmpty == false ? 1 : 0
      while source.nextEvent() != nil {}
      while sink.nextRequest() != nil {}
      while sink.nextEvent() != nil {}
    }
    #expect(method == .incrementalAggregated || answered > 0, "seed \(seed): the damage is never survived")
  }

  private func damaged(_ whole: [UInt8], _ generator: inout SeededGenerator) -> [UInt8] {
    guard !whole.isEmpty, Int.random(in: 0..<5, using: &generator) > 0 else {
      return (0..<Int.random(in: 0..<60, using: &generator)).map { _ in
        UInt8.random(in: 0...255, using: &generator)
      }
    }
    var bytes = whole
    for _ in 0..<Int.random(in: 1...3, using: &generator) {
      bytes[Int.random(in: 0..<bytes.count, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
    }
    return bytes
  }
}
