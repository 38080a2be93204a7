// Goal: no bytes of a peer make a session trap, hang or grow. Method: recorded honest conversations are
// mutated (bytes flipped, cut out, doubled, frames shuffled) with a seeded generator and fed in random
// pieces while the session answers. A failure names its seed; the round is its number.

import HTTP2
import Primitives
import Testing

@Suite struct FuzzTests {
  /// What each side of one call with several messages wrote.
  static func conversation() throws -> (toServer: [UInt8], toClient: [UInt8]) {
    let wire = Wire()
    var recorded: (toServer: [UInt8], toClient: [UInt8]) = ([], [])
    func exchange() throws {
      for _ in 0..<4 {
        let request = try wire.produced(wire.client)
        recorded.toServer += request
        _ = try wire.deliver(request, to: wire.server)
        let response = try wire.produced(wire.server)
        recorded.toClient += response
        _ = try wire.deliver(response, to: wire.client)
      }
    }
    let first = try wire.client.request(requestFields)
    let second = try wire.client.request(requestFields)
    wire.client.send(first, head: [0, 0, 0, 0, 3, 1, 2, 3], body: nil)
    try exchange()
    wire.server.respond(first, responseFields)
    wire.server.send(first, head: [1], body: body(20_000))
    wire.server.respondAndEnd(second, responseFields + trailerFields)
    wire.client.ping(7)
    try exchange()
    wire.client.end(first)
    wire.server.finish(first, trailers: trailerFields)
    wire.server.shutdownNotice()
    try exchange()
    return recorded
  }

  static func mutated(_ original: [UInt8], _ random: inout SeededGenerator) -> [UInt8] {
    var bytes = original
    for _ in 0..<Int.random(in: 1...6, using: &random) where !bytes.isEmpty {
      let place = Int.random(in: 0..<bytes.count, using: &random)
      let end = min(bytes.count, place + Int.random(in: 1...40, using: &random))
      switch Int.random(in: 0...4, using: &random) {
      case 0: bytes[place] ^= 1 << UInt8.random(in: 0...7, using: &random)
      case 1: bytes[place] = UInt8.random(in: 0...255, using: &random)
      case 2: bytes.removeSubrange(place..<end)
      case 3: bytes.insert(contentsOf: bytes[place..<end], at: place)
      default:
        bytes.insert(
          contentsOf: Raw.frame(
            UInt8.random(in: 0...20, using: &random), flags: UInt8.random(in: 0...255, using: &random),
            stream: UInt32.random(in: 0...9, using: &random), Array(bytes[place..<end])),
          at: min(bytes.count, 24))
      }
    }
    return bytes
  }

  /// Feeds `bytes` in random pieces; the session's owner answers as a careless but correct one would.
  static func feed(_ bytes: [UInt8], to session: HTTP2Session, _ random: inout SeededGenerator) -> Int {
    let output = IOBuffer()
    var written = 0
    var rest = bytes[...]
    while !rest.isEmpty, !session.isFinished {
      let piece = Array(rest.prefix(Int.random(in: 1...700, using: &random)))
      rest = rest.dropFirst(piece.count)
      let isAlive = unsafe piece.withUnsafeBytes { piece in
        defer { answer(session) }
        do {
          unsafe try session.receive(piece, now: Instant(nanoseconds: 0))
          return true
        } catch {
          return false
        }
      }
      do { try session.produce(into: output, upTo: 64 * 1024) } catch { return written }
      answer(session)
      written += output.count
      output.removeAll()
      if !isAlive { break }
    }
    return written
  }

  static func answer(_ session: HTTP2Session) {
    while let event = session.nextEvent() {
      switch event {
      case .headers(let id, let fields, _) where session.role == .server && fields[":path"] != nil:
        session.respond(id, responseFields)
        session.send(id, head: [1, 2, 3], body: body(5000))
        session.finish(id, trailers: trailerFields)
      case .data(let id, let bytes, _): session.consumed(id, bytes.count)
      default: break
      }
    }
  }

  @Test(arguments: 0..<20)
  func mutationsOfAConversation(round: Int) throws {
    let recorded = try FuzzTests.conversation()
    let seed = 0x4832_0000 + UInt64(round)
    print("HTTP2 fuzz seed \(seed)")
    var random = SeededGenerator(seed: seed)
    for _ in 0..<150 {
      let server = HTTP2Session(role: .server, limits: Limits())
      let written = FuzzTests.feed(FuzzTests.mutated(recorded.toServer, &random), to: server, &random)
      #expect(written < 1 << 20, "seed \(seed)")
      let client = HTTP2Session(role: .client, limits: Limits())
      _ = try client.request(requestFields)
      _ = try client.request(requestFields)
      _ = FuzzTests.feed(FuzzTests.mutated(recorded.toClient, &random), to: client, &random)
    }
  }

  @Test(arguments: 0..<10)
  func noiseAfterTheGreeting(round: Int) {
    let seed = 0x4832_1000 + UInt64(round)
    print("HTTP2 noise seed \(seed)")
    var random = SeededGenerator(seed: seed)
    for _ in 0..<100 {
      let server = HTTP2Session(role: .server, limits: Limits())
      var bytes = Raw.greeting
      for _ in 0..<50 {
        let payload = (0..<Int.random(in: 0...60, using: &random)).map { _ in
          UInt8.random(in: 0...255, using: &random)
        }
        bytes += Raw.frame(
          UInt8.random(in: 0...12, using: &random), flags: UInt8.random(in: 0...255, using: &random),
          stream: UInt32.random(in: 0...5, using: &random), payload)
      }
      _ = FuzzTests.feed(bytes, to: server, &random)
    }
  }
}
