// Goal: refusals cannot flood journal or audit log, none goes uncounted, and those of one kind hide no other's.
// Method: floods of one kind, of many, and of endless new kinds, in virtual time; every one is told or counted.

import Primitives
import SPIFFE
import Testing

@testable import Downstream

private func failed(_ host: String, _ reason: String, port: Int = 1) -> ServeNote {
  .handshakeFailed(address: "\(host):\(port)", reason: reason)
}

private func reason(_ note: ServeNote) -> String {
  switch note {
  case .handshakeFailed(_, let reason), .refused(_, _, let reason): reason
  default: "another"
  }
}

private struct Bench {
  var meter = RefusalMeter()
  var now = Instant(nanoseconds: 1_000_000_000)
  var told: [String] = []
  var counted = 0

  mutating func note(_ note: ServeNote) throws {
    let kind = try #require(note.refusal)
    guard let omitted = meter.admit(note, of: kind, at: now) else { return }
    told.append(reason(note))
    counted += 1 + omitted
  }

  mutating func pass(_ time: Duration, all: Bool = false) {
    now = now + time
    for (note, omitted) in meter.settle(at: now, all: all) {
      told.append(reason(note))
      counted += omitted
    }
  }
}

struct RefusalMeterTests {
  @Test func theFirstFewAreToldAndTheRestIsCounted() throws {
    var bench = Bench()
    for port in 0..<1_000 { try bench.note(failed("10.0.0.1", "expired", port: port)) }
    #expect(bench.told.count == 3)
    bench.pass(.seconds(59))
    #expect(bench.told.count == 3)
    bench.pass(.seconds(1))
    #expect(bench.told.count == 4 && bench.counted == 1_000)
    // A new while begins.
    try bench.note(failed("10.0.0.1", "expired"))
    #expect(bench.told.count == 5)
  }

  @Test func aFloodOfOneKindHidesNoOther() throws {
    var bench = Bench()
    for port in 0..<1_000 { try bench.note(failed("10.0.0.1", "expired", port: port)) }
    try bench.note(failed("10.0.0.1", "untrusted"))
    try bench.note(failed("10.0.0.2", "expired"))
    try bench.note(.refused(try SPIFFEID(parsing: "spiffe://td/a"), address: "10.0.0.1:1", reason: "blocked"))
    #expect(bench.told.suffix(3) == ["untrusted", "expired", "blocked"])
  }

  /// Addresses and words of certificates are the attacker's to choose.
  @Test func endlessNewKindsAreOneKind() throws {
    var bench = Bench()
    for index in 0..<100_000 {
      try bench.note(failed("10.0.\(index % 251).\(index % 241)", "reason \(index)"))
    }
    #expect(bench.told.count <= RefusalMeter.strangersMost + RefusalMeter.toldMost)
    try bench.note(.refused(try SPIFFEID(parsing: "spiffe://td/a"), address: "10.0.0.1:1", reason: "blocked"))
    #expect(bench.told.last == "blocked", "who has proved something is told of all the same")
    bench.pass(.seconds(60))
    #expect(bench.counted == 100_001)
  }

  @Test func identitiesAreBoundedToo() throws {
    var bench = Bench()
    for index in 0..<20_000 {
      try bench.note(
        .refused(try SPIFFEID(parsing: "spiffe://td/\(index)"), address: "10.0.0.1:1", reason: "no cluster"))
    }
    #expect(bench.told.count <= RefusalMeter.kindsMost + RefusalMeter.toldMost)
    bench.pass(.zero, all: true)
    #expect(bench.counted == 20_000)
  }

  @Test func whatRightsAreNeededForIsNoRefusal() throws {
    let id = try SPIFFEID(parsing: "spiffe://td/a")
    #expect(ServeNote.connected(id, cluster: "a", address: "10.0.0.1:1").refusal == nil)
    #expect(ServeNote.ended(id, cluster: "a", reason: "expired").refusal == nil)
  }
}
