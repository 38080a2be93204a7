// Goal: a ticket counts only where, for whom and under what it was given; whatever bytes come, nothing traps.
// Method: a table of one difference each; every cut and many mutilations of a good ticket.

import Primitives
import SPIFFE
import TLS
import TestCertificates
import Testing
import Trust

private let now = Timestamp(seconds: TestAuthority.epoch)

private func ticket() throws -> ResumptionTicket {
  ResumptionTicket(
    listener: "0.0.0.0:15010", id: try SPIFFEID(parsing: "spiffe://td/a"),
    notAfter: Timestamp(seconds: TestAuthority.epoch + 10), trust: [1, 2, 3], chain: [[4, 5], [6]])
}

struct ResumptionTicketTests {
  @Test func readsBackAsItWas() throws {
    let ticket = try ticket()
    #expect(ResumptionTicket(ticket.bytes) == ticket)
  }

  @Test(
    arguments: [
      ("0.0.0.0:15010", [1, 2, 3], 0, nil), ("0.0.0.0:15010", [1, 2, 3], 10, nil),
      ("0.0.0.0:15010", [1, 2, 3], 11, .expired), ("0.0.0.0:15011", [1, 2, 3], 0, .listener),
      ("0.0.0.0:15010", [1, 2, 4], 0, .trust), ("0.0.0.0:15010", [], 0, .trust),
    ] as [(String, [UInt8], Int64, ResumptionTicket.Mismatch?)])
  func whatCounts(
    _ listener: String, _ trust: [UInt8], _ seconds: Int64, _ expected: ResumptionTicket.Mismatch?
  ) throws {
    let instant = Timestamp(seconds: TestAuthority.epoch + seconds)
    #expect(try ticket().mismatch(listener: listener, trust: trust, at: instant) == expected)
  }

  @Test func otherBytesAreNoTicket() throws {
    let good = try ticket().bytes
    for count in 0..<good.count where ResumptionTicket(Array(good[..<count])) != nil {
      // A cut between two certificates leaves a shorter chain, which is judged as such.
      #expect(count == good.count - 5)
    }
    #expect(ResumptionTicket([2] + good.dropFirst()) == nil)
    #expect(ResumptionTicket(good + [0]) == nil)
    var generator = SeededGenerator(seed: 5)
    for _ in 0..<5_000 {
      var bytes = good
      for _ in 0..<Int.random(in: 1...4, using: &generator) {
        bytes[Int.random(in: bytes.indices, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
      }
      _ = ResumptionTicket(bytes)
    }
  }

  @Test func theMarkIsOfTheWholeSet() throws {
    let (a, b) = (TestAuthority("a"), TestAuthority("b"))
    func bundle(_ name: String, _ authorities: [TestAuthority]) throws -> Bundle {
      try Bundle(trustDomain: try TrustDomain(name), anchors: authorities.map(\.certificate))
    }
    let (first, second) = (try TrustDomain("a"), try TrustDomain("b"))
    var revoking = try bundle("a", [a])
    revoking.revocations = [try RevocationList(der: a.revoking([a.issue("spiffe://a/x").chain[0]]))]
    let sets: [[TrustDomain: Bundle]] = [
      [:], [first: try bundle("a", [])], [first: try bundle("a", [a])],
      [first: try bundle("a", [TestAuthority("a")])],
      [first: try bundle("a", [a]), second: try bundle("b", [b])],
      [second: try bundle("b", [b])], [first: try bundle("a", [a, TestAuthority("a")])], [first: revoking],
    ]
    #expect(Set(sets.map(trustMark)).count == sets.count)
    #expect(
      trustMark(of: sets[4]) == trustMark(of: [second: try bundle("b", [b]), first: try bundle("a", [a])]))
  }
}
