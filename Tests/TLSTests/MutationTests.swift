// Goal: no bytes of a peer trap, hang or get past the handshake unharmed.
// Method: seeded damage to recorded flights, to both ends; the seed of a failure is in its message.

import Primitives
import TLS
import TestCertificates
import Testing

/// Changes, removes, inserts or repeats a few bytes.
private func damage(_ bytes: [UInt8], _ generator: inout SeededGenerator) -> [UInt8] {
  var bytes = bytes
  for _ in 0..<Int.random(in: 1...3, using: &generator) where !bytes.isEmpty {
    let place = Int.random(in: 0..<bytes.count, using: &generator)
    switch Int.random(in: 0..<5, using: &generator) {
    case 0: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
    case 1: bytes[place] = UInt8.random(in: .min ... .max, using: &generator)
    case 2: bytes.remove(at: place)
    case 3: bytes.insert(UInt8.random(in: .min ... .max, using: &generator), at: place)
    default: bytes.removeSubrange(place...)
    }
  }
  return bytes
}

@Test(arguments: [TLSVersion.tls12, .tls13])
func damagedFlightsNeverTrapNorPassAsData(_ minimum: TLSVersion) throws {
  let cast = Cast()
  let clientContext = try cast.context(.client, minimum: minimum)
  let serverContext = try cast.context(.server, minimum: minimum)
  for seed in UInt64(0)..<600 {
    var generator = SeededGenerator(seed: seed)
    let client = try End(clientContext)
    let server = try End(serverContext)
    let damagedFlight = Int.random(in: 0..<4, using: &generator)
    for flight in 0..<6 {
      let (from, to) = flight.isMultiple(of: 2) ? (client, server) : (server, client)
      var bytes = from.output.takeAll()
      if flight == damagedFlight { bytes = damage(bytes, &generator) }
      to.receive(bytes)
    }
    if client.progress == .established { try? client.send([1, 2, 3]) }
    server.receive(client.output.takeAll())
    // Damage may leave a flight as it was in effect; then the data is right. It is never something else.
    #expect(server.received.isEmpty || server.received == [1, 2, 3], "seed \(seed)")
  }
}

@Test func randomBytesNeverTrap() throws {
  let context = try Cast().context(.server)
  for seed in UInt64(0)..<300 {
    var generator = SeededGenerator(seed: seed)
    let server = try End(context)
    var bytes = (0..<200).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
    if seed.isMultiple(of: 2) { bytes.replaceSubrange(0..<3, with: [22, 3, 1]) }
    server.receive(bytes)
    #expect(server.progress != .established, "seed \(seed)")
    #expect(server.received.isEmpty, "seed \(seed)")
  }
}
