// Goal: a client and a server session understand each other in every shape a gRPC call takes.
// Method: both joined by buffers; what each is told is compared as values. Splitting at every byte
// must change nothing.

import HTTP2
import Primitives
import Testing

@Suite struct ConversationTests {
  @Test(arguments: [1, 2, 3, 7, 100, Int.max])
  func unaryCallInChunks(of chunk: Int) throws {
    let wire = Wire(chunk: chunk)
    let id = try wire.client.request(requestFields)
    wire.client.send(id, head: [1, 2, 3], body: nil)
    wire.client.end(id)
    let asked = try wire.run()
    #expect(asked.server.headers(of: id) == [requestFields])
    #expect(asked.server.bytes(of: id) == [1, 2, 3])
    #expect(asked.server.ended(id))
    #expect(asked.client.contains(.dataSent(id)))

    wire.server.respond(id, responseFields)
    wire.server.send(id, head: [9], body: body(5000))
    wire.server.finish(id, trailers: trailerFields)
    let answered = try wire.run()
    #expect(answered.client.headers(of: id) == [responseFields, trailerFields])
    #expect(answered.client.bytes(of: id) == [9] + body(5000).bytes)
    #expect(answered.client.closeCode(of: id) == HTTP2ErrorCode.noError)
    #expect(answered.server.closeCode(of: id) == HTTP2ErrorCode.noError)
    #expect(answered.server.contains(.dataSent(id)))
  }

  @Test func settingsComeFirstAndAreSeen() throws {
    let wire = Wire()
    #expect(wire.server.wantsToSend && wire.client.wantsToSend)
    let seen = try wire.run()
    #expect(seen.client == [.settings])
    #expect(seen.server == [.settings])
    #expect(!wire.server.wantsToSend && !wire.server.isFinished)
  }

  @Test func bidirectionalStreamStaysOpenBothWays() throws {
    let wire = Wire()
    let id = try wire.client.request(requestFields)
    try wire.run()
    wire.server.respond(id, responseFields)
    for round in 0..<100 {
      let question = [UInt8](repeating: UInt8(round), count: round * 37)
      wire.client.send(id, head: question, body: nil)
      #expect(try wire.run().server.bytes(of: id) == question)
      wire.server.send(id, head: [UInt8(round)], body: body(round * 500))
      #expect(try wire.run().client.bytes(of: id) == [UInt8(round)] + body(round * 500).bytes)
    }
    wire.client.end(id)
    #expect(try wire.run().server.ended(id))
    wire.server.finish(id, trailers: trailerFields)
    #expect(try wire.run().client.closeCode(of: id) == HTTP2ErrorCode.noError)
  }

  @Test func trailersOnly() throws {
    let wire = Wire()
    let id = try wire.client.request(requestFields)
    wire.client.end(id)
    try wire.run()
    wire.server.respondAndEnd(id, responseFields + trailerFields)
    let seen = try wire.run()
    #expect(seen.client.contains(.headers(id, responseFields + trailerFields, endOfStream: true)))
    #expect(seen.client.closeCode(of: id) == HTTP2ErrorCode.noError)
  }

  @Test(arguments: [false, true])
  func serverThatEndsFirstResetsWithNoError(trailersOnly: Bool) throws {
    let wire = Wire()
    let id = try wire.client.request(requestFields)
    wire.client.send(id, head: [1], body: nil)
    try wire.run()
    if trailersOnly {
      wire.server.respondAndEnd(id, responseFields + trailerFields)
    } else {
      wire.server.respond(id, responseFields)
      wire.server.send(id, head: [7], body: nil)
      wire.server.finish(id, trailers: trailerFields)
    }
    let seen = try wire.run()
    #expect(seen.client.ended(id))
    #expect(seen.client.headers(of: id).last?["grpc-status"] == "0")
    #expect(seen.client.closeCode(of: id) == HTTP2ErrorCode.noError)
    #expect(seen.server.closeCode(of: id) == HTTP2ErrorCode.noError)
    #expect(!wire.client.isFinished)
  }

  @Test func finishWithNothingQueuedSendsTrailersAtOnce() throws {
    let wire = Wire()
    let id = try wire.client.request(requestFields)
    wire.client.end(id)
    try wire.run()
    wire.server.respond(id, responseFields)
    try wire.run()
    wire.server.finish(id, trailers: trailerFields)
    let seen = try wire.run()
    #expect(seen.client.contains(.headers(id, trailerFields, endOfStream: true)))
    #expect(seen.client.bytes(of: id).isEmpty)
  }

  @Test func endWithoutTrailersIsEndOfStreamOnData() throws {
    let wire = Wire()
    let id = try wire.client.request(requestFields)
    try wire.run()
    wire.client.end(id)
    #expect(try wire.run().server == [.data(id, [], endOfStream: true)])
  }

  @Test func resetReachesThePeerAndDropsWhatIsQueued() throws {
    let wire = Wire()
    let id = try wire.client.request(requestFields)
    try wire.run()
    wire.server.respond(id, responseFields)
    wire.server.send(id, head: [], body: body(3_000_000))
    _ = try wire.produced(wire.server)
    wire.server.reset(id, errorCode: HTTP2ErrorCode.cancel)
    #expect(wire.server.unsentBytes(id) == 0)
    wire.server.send(id, head: [1], body: nil)
    wire.server.finish(id, trailers: trailerFields)
    let seen = try wire.run()
    #expect(seen.client.closeCode(of: id) == HTTP2ErrorCode.cancel)
    #expect(seen.server.closeCode(of: id) == HTTP2ErrorCode.cancel)
    let next = try wire.client.request(requestFields)
    #expect(try wire.run().server.headers(of: next) == [requestFields])
  }

  @Test func commandsForClosedStreamsAreIgnored() throws {
    let wire = Wire()
    let id = try wire.client.request(requestFields)
    try wire.run()
    wire.client.reset(id, errorCode: HTTP2ErrorCode.cancel)
    #expect(try wire.run().server.closeCode(of: id) == HTTP2ErrorCode.cancel)
    wire.server.respond(id, responseFields)
    wire.server.respondAndEnd(id, responseFields)
    wire.server.send(id, head: [1], body: nil)
    wire.server.finish(id, trailers: trailerFields)
    wire.server.consumed(id, 5)
    wire.server.reset(id, errorCode: 0)
    #expect(wire.server.unsentBytes(id) == 0 && wire.server.discardUnsent(id) == 0)
    #expect(try wire.run().client.isEmpty)
  }

  @Test func pingIsAnsweredAndNumberedByItsPayload() throws {
    let wire = Wire()
    try wire.run()
    wire.client.ping(0x0102_0304_0506_0708)
    wire.server.ping(.max)
    let seen = try wire.run()
    #expect(seen.client == [.pong(0x0102_0304_0506_0708)])
    #expect(seen.server == [.pong(.max)])
  }

  @Test func gracefulStop() throws {
    let wire = Wire()
    let first = try wire.client.request(requestFields)
    try wire.run()
    wire.server.shutdownNotice()
    let notice = try wire.run()
    #expect(notice.client == [.goAway(StreamID(rawValue: .max), 0, "")])
    wire.server.goAway(errorCode: HTTP2ErrorCode.noError, debug: "max_age")
    #expect(try wire.run().client == [.goAway(first, 0, "max_age")])
    #expect(throws: HTTP2Error.noNewStreams) { try wire.client.request(requestFields) }
    #expect(!wire.server.isFinished)
    wire.server.respondAndEnd(first, responseFields + trailerFields)
    #expect(try wire.run().client.ended(first))
    #expect(wire.client.isFinished && wire.server.isFinished)
    #expect(wire.client.failure == nil && wire.server.failure == nil)
  }

  @Test func requestThatCrossesGoAwayIsRefusedSafely() throws {
    let wire = Wire()
    try wire.run()
    wire.server.goAway(errorCode: HTTP2ErrorCode.noError, debug: "")
    let goAway = try wire.produced(wire.server)
    let id = try wire.client.request(requestFields)
    let request = try wire.produced(wire.client)
    #expect(try wire.deliver(request, to: wire.server).isEmpty)
    let seen = try wire.deliver(goAway, to: wire.client)
    #expect(seen.closeCode(of: id) == HTTP2ErrorCode.refusedStream)
  }

  @Test func discardUnsentKeepsTheMessageUnderWay() throws {
    let wire = Wire()
    let id = try wire.client.request(requestFields)
    try wire.run()
    wire.server.respond(id, responseFields)
    wire.server.send(id, head: [1], body: body(100_000))
    wire.server.send(id, head: [2], body: body(100_000))
    wire.server.send(id, head: [3], body: body(100_000))
    wire.produceLimit = 1000
    let begun = try wire.produced(wire.server)
    #expect(wire.server.discardUnsent(id) == 2)
    wire.server.send(id, head: [4], body: body(10))
    var seen = try wire.deliver(begun, to: wire.client)
    seen += try wire.run().client
    #expect(seen.bytes(of: id) == [1] + body(100_000).bytes + [4] + body(10).bytes)
  }
}
