// Goal: keys of session tickets change, two are kept, and no one can tell the next from the last. Method: a row of
// rotations; what a ticket can be opened with is asked of OpenSSL in the integration tests.

import Primitives
import Testing

@testable import TLS

struct TicketKeysTests {
  private func secret(_ key: TicketKeys.Key) -> [UInt8] { unsafe key.secret.withBytes { unsafe Array($0) } }

  @Test func twoAreKept() throws {
    var keys = try #require(TicketKeys())
    #expect(keys.keys.count == 1)
    var names: Set<[UInt8]> = [keys.keys[0].name]
    var secrets: Set<[UInt8]> = [secret(keys.keys[0])]
    for turn in 2...10 {
      let before = keys
      keys = keys.rotated()
      #expect(keys.keys.count == 2)
      #expect(keys.keys[1].name == before.keys[0].name, "tickets of the last hour still count")
      #expect(!before.keys.dropFirst().contains { $0.name == keys.keys[1].name }, "older ones do not")
      names.insert(keys.keys[0].name)
      secrets.insert(secret(keys.keys[0]))
      #expect(names.count == turn && secrets.count == turn)
    }
    #expect(secrets.allSatisfy { $0.count == 64 } && names.allSatisfy { $0.count == 16 })
    #expect(Mirror(reflecting: keys).children.map(\.label) == ["count"])
  }
}
