// Goal: a client asks by SNI for DNS names only. RFC 6066, section 3.
// Method: SNI travels in clear in the first flight, so the name is looked for there.

import Primitives
import TLS
import TestCertificates
import Testing

@Test(arguments: [
  ("central-1.example.org", "central-1.example.org"), ("central.example.org.", "central.example.org"),
  ("istiod", "istiod"), ("10.0.0.7", nil), ("::1", nil), ("[::1]", nil), ("a..b", nil), ("", nil),
  ("bad name", nil), (String(repeating: "a", count: 64) + ".org", nil),
])
func onlyDNSNamesAreSent(_ given: String, _ sent: String?) throws {
  let client = try End(Cast().context(.client), serverName: given)
  let flight = client.output.takeAll()
  // server_name extension: list length, type 0, name length, name.
  let hasName = sent.map { name in
    let bytes = [0, 0, UInt8(name.utf8.count)] + Array(name.utf8)
    return flight.indices.contains { flight[$0...].starts(with: bytes) }
  }
  #expect(hasName ?? true)
  let silent = try End(Cast().context(.client))
  #expect((flight.count > silent.output.takeAll().count) == (sent != nil))
}
