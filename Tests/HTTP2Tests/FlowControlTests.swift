// Goal: megabytes pass through windows piece by piece, a stream that is not read stops only itself,
// and no credit is lost. Method: sessions joined by buffers, credit withheld on chosen streams.

import HTTP2
import Primitives
import Testing

@Suite struct FlowControlTests {
  @Test(arguments: [1000, 16 * 1024, 64 * 1024, 1 << 20])
  func megabytesInPieces(of limit: Int) throws {
    let wire = Wire()
    wire.produceLimit = limit
    let id = try wire.client.request(requestFields)
    try wire.run()
    wire.server.respond(id, responseFields)
    let large = body(12_000_000, segment: 70_001)
    wire.server.send(id, head: [5, 5], body: large)
    #expect(wire.server.unsentBytes(id) == 12_000_002)
    wire.server.finish(id, trailers: trailerFields)
    let seen = try wire.run()
    #expect(seen.client.bytes(of: id) == [5, 5] + large.bytes)
    #expect(seen.client.ended(id) && seen.client.closeCode(of: id) == HTTP2ErrorCode.noError)
    #expect(seen.server.contains(.dataSent(id)))
  }

  @Test func produceStopsOneFrameAboveItsLimit() throws {
    let wire = Wire()
    let id = try wire.client.request(requestFields)
    try wire.run()
    wire.server.respond(id, responseFields)
    wire.server.send(id, head: [], body: body(1_000_000))
    let buffer = IOBuffer()
    buffer.append([1, 2, 3])
    try wire.server.produce(into: buffer, upTo: 20_000)
    #expect((20_000...20_000 + 16_384 + 9).contains(buffer.count))
    let count = buffer.count
    try wire.server.produce(into: buffer, upTo: 20_000)
    #expect(buffer.count == count)
    #expect(wire.server.wantsToSend)
  }

  @Test func stoppedStreamDoesNotStopTheOthers() throws {
    let wire = Wire()
    let slow = try wire.client.request(requestFields)
    let quick = try wire.client.request(requestFields)
    try wire.run()
    for id in [slow, quick] { wire.server.respond(id, responseFields) }
    let large = body(9_000_000, segment: 50_000)
    wire.server.send(slow, head: [], body: large)
    wire.server.send(quick, head: [], body: large)
    let seen = try wire.run(refusing: [slow])
    #expect(seen.client.bytes(of: quick) == large.bytes)
    let got = seen.client.bytes(of: slow)
    #expect(got.count == 4 << 20, "exactly the stream window passes")
    #expect(wire.server.unsentBytes(slow) == 9_000_000 - got.count)
    #expect(!wire.server.wantsToSend)

    wire.client.ping(1)
    #expect(try wire.run(refusing: [slow]).client == [.pong(1)])

    wire.client.consumed(slow, got.count)
    let rest = try wire.run()
    #expect(got + rest.client.bytes(of: slow) == large.bytes)
  }

  @Test func streamsShareTheBufferFairly() throws {
    let wire = Wire()
    let ids = try (0..<4).map { _ in try wire.client.request(requestFields) }
    try wire.run()
    for id in ids {
      wire.server.respond(id, responseFields)
      wire.server.send(id, head: [], body: body(1_000_000))
    }
    wire.produceLimit = 1_000_000
    let seen = try wire.deliver(wire.produced(wire.server), to: wire.client)
    for id in ids {
      #expect((200_000...300_000).contains(seen.bytes(of: id).count))
    }
  }

  @Test func serverHoldsBackAClientThatIsNotRead() throws {
    let wire = Wire()
    let id = try wire.client.request(requestFields)
    try wire.run()
    wire.client.send(id, head: [], body: body(3_000_000))
    let held = try wire.run(consuming: false)
    #expect(held.server.bytes(of: id).count == 1 << 20)
    wire.server.consumed(id, 1 << 20)
    let more = try wire.run()
    #expect(held.server.bytes(of: id) + more.server.bytes(of: id) == body(3_000_000).bytes)
  }

  @Test func creditOfClosedStreamsComesBackToTheConnection() throws {
    let wire = Wire()
    try wire.run()
    // 40 streams of 1 MiB each through a connection window of 4 MiB, and nobody consumes.
    for _ in 0..<40 {
      let id = try wire.client.request(requestFields)
      wire.client.send(id, head: [], body: body(1 << 20, segment: 1 << 20))
      let seen = try wire.run(consuming: false)
      #expect(seen.server.bytes(of: id).count == 1 << 20)
      wire.server.reset(id, errorCode: HTTP2ErrorCode.cancel)
      #expect(try wire.run(consuming: false).client.closeCode(of: id) == HTTP2ErrorCode.cancel)
      wire.server.consumed(id, 1 << 20)
    }
  }

  @Test func dataForStreamsWeResetCostsNoCredit() throws {
    let wire = Wire()
    try wire.run()
    for _ in 0..<40 {
      let id = try wire.client.request(requestFields)
      try wire.run()
      wire.client.send(id, head: [], body: body(1 << 20, segment: 1 << 20))
      wire.server.reset(id, errorCode: HTTP2ErrorCode.cancel)
      // DATA crosses the reset.
      var crossing = try wire.produced(wire.client)
      while true {
        let more = try wire.produced(wire.client)
        guard !more.isEmpty else { break }
        crossing += more
      }
      #expect(crossing.count > 1 << 20)
      #expect(try wire.deliver(crossing, to: wire.server).bytes(of: id).isEmpty)
      try wire.run()
    }
  }

  @Test func consumingTooMuchIsCut() throws {
    let wire = Wire()
    let id = try wire.client.request(requestFields)
    wire.client.send(id, head: [1, 2], body: nil)
    try wire.run(consuming: false)
    wire.server.consumed(id, .max)
    wire.server.consumed(id, .max)
    wire.server.consumed(id, -5)
    #expect(try wire.run().client.isEmpty)
    #expect(!wire.server.isFinished && !wire.client.isFinished)
  }
}
