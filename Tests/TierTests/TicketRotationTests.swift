// Goal: the keys of session tickets are there from the first second, change every hour, and reach every loop.
// Method: a beat a second over some hours, and what is published of it.

import Downstream
import Primitives
import Testing

@testable import TLS
@testable import Tier

struct TicketRotationTests {
  @Test func everyHour() throws {
    let crossings = ServeCrossings(limits: Limits(), wakeControl: {})
    var rotation = TicketRotation()
    var names: [[[UInt8]]] = []
    for second in 0..<Int64(3 * 3600 + 10) {
      rotation.beat(Instant(nanoseconds: 5 + second * 1_000_000_000), crossings)
      let keys = try #require(crossings.ticketKeys.value).keys.map(\.name)
      if keys != names.last { names.append(keys) }
    }
    #expect(names.map(\.count) == [1, 2, 2, 2])
    for (before, after) in zip(names, names.dropFirst()) { #expect(after[1] == before[0]) }
  }
}
