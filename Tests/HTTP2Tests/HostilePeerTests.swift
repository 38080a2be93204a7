// Goal: a peer that breaks the protocol or floods us gets exactly the error meant for it, and honest
// peers below the limits get none. Method: frames written by hand against a server session.

import HTTP2
import Primitives
import Testing

@Suite struct HostilePeerTests {
  let wire = Wire()
  var server: HTTP2Session { wire.server }

  /// Gives the server bytes; the error it throws, if any.
  func error(_ bytes: [UInt8], at time: Instant? = nil) -> HTTP2Error? {
    if let time { wire.now = time }
    do {
      _ = try wire.deliver(bytes, to: server)
      return nil
    } catch {
      return error as? HTTP2Error
    }
  }

  /// The server's last words hold GOAWAY with this code, after which it is finished.
  func expectGoAway(_ code: UInt32) throws {
    let bytes = try wire.produced(server)
    guard let place = goAwayPlace(bytes) else {
      Issue.record("no GOAWAY among frames \(frameTypes(bytes))")
      return
    }
    #expect(Array(bytes[place + 13..<place + 17]) == Raw.number(code))
    #expect(server.isFinished && !server.wantsToSend)
  }

  func goAwayPlace(_ bytes: [UInt8]) -> Int? {
    var position = 0
    while position + 17 <= bytes.count {
      if bytes[position + 3] == 7 { return position }
      position += 9 + Int(bytes[position]) << 16 + Int(bytes[position + 1]) << 8 + Int(bytes[position + 2])
    }
    return nil
  }

  @Test(arguments: [
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r", "\u{16}\u{3}\u{1}\u{2}",
    "PRI * HTTP/1.0",
  ])
  func prefaceGarbage(text: String) throws {
    #expect(error(Array(text.utf8)) == .notHTTP2)
    #expect(error(Raw.greeting) == .notHTTP2)
    #expect(try wire.produced(server).isEmpty)
    #expect(server.isFinished && server.failure == .notHTTP2)
    #expect(server.failure?.blame == .peer)
  }

  @Test(arguments: 0..<24)
  func everyWrongByteOfThePreface(place: Int) {
    var bytes = Raw.greeting
    bytes[place] ^= 0x20
    #expect(error(bytes) == .notHTTP2)
  }

  @Test func rapidReset() throws {
    let limit = Limits().resetsPerSecond
    #expect(error(Raw.greeting) == nil)
    for index in 0..<UInt32(limit) {
      #expect(error(Raw.headers(index * 2 + 1, requestFields) + Raw.reset(index * 2 + 1, 8)) == nil)
    }
    let next = UInt32(limit) * 2 + 1
    #expect(error(Raw.headers(next, requestFields) + Raw.reset(next, 8)) == .flood(.resets, limit: limit))
    try expectGoAway(HTTP2ErrorCode.enhanceYourCalm)
    #expect(error(Raw.ping(0)) == .flood(.resets, limit: limit))
  }

  @Test func resetsSpreadOverTimeAreFine() {
    #expect(error(Raw.greeting) == nil)
    for index in UInt32(0)..<1000 {
      let time = Instant(nanoseconds: Int64(index) * 20_000_000)
      #expect(error(Raw.headers(index * 2 + 1, requestFields) + Raw.reset(index * 2 + 1, 8), at: time) == nil)
    }
  }

  @Test func resetsThatThePeerForcesCountToo() throws {
    let limit = Limits().resetsPerSecond
    _ = error(Raw.greeting)
    // A stream window above 2^31 − 1 is a stream error: we have to answer with RST_STREAM.
    for index in UInt32(0)...UInt32(limit) where server.failure == nil {
      let id = index * 2 + 1
      _ = error(Raw.headers(id, requestFields) + Raw.windowUpdate(id, 0x7fff_ffff))
      _ = try wire.produced(server)
    }
    #expect(server.failure == .flood(.resets, limit: limit))
  }

  @Test func settingsFlood() throws {
    let limit = Limits().settingsPerSecond
    let flood = Raw.greeting + (0..<limit).flatMap { _ in Raw.settings }
    #expect(error(flood) == .flood(.settings, limit: limit))
    try expectGoAway(HTTP2ErrorCode.enhanceYourCalm)
  }

  @Test func pingFlood() throws {
    let limit = Limits().pingsPerSecond
    #expect(error(Raw.greeting + (0..<limit).flatMap { _ in Raw.ping(1) }) == nil)
    #expect(error(Raw.ping(1)) == .flood(.pings, limit: limit))
    try expectGoAway(HTTP2ErrorCode.enhanceYourCalm)
  }

  @Test func keepalivePingsForADayAreFine() throws {
    _ = error(Raw.greeting)
    _ = try wire.produced(server)
    for round in Int64(0)..<8640 {
      #expect(error(Raw.ping(7), at: Instant(nanoseconds: round * 10_000_000_000)) == nil)
      #expect(frameTypes(try wire.produced(server)) == [6])
    }
  }

  @Test func answersNobodyReads() {
    var limits = Limits()
    limits.pingsPerSecond = 1_000_000
    let wire = Wire(limits: limits)
    let flood = Raw.greeting + (0..<1000).flatMap { _ in Raw.ping(1) }
    #expect { try wire.deliver(flood, to: wire.server) } throws: {
      if case .flood(.acknowledgements, _)? = $0 as? HTTP2Error { true } else { false }
    }
    #expect(wire.server.isFinished)
  }

  @Test func continuationFlood() {
    let block = Raw.block([HeaderField(name: "a", value: "b")])
    let first = Raw.headers(1, requestFields, flags: 0)
    let flood = (0..<20).flatMap { _ in Raw.frame(9, stream: 1, block) }
    #expect(error(Raw.greeting + first + flood) == .flood(.continuations, limit: Limits().continuations))
    #expect(server.isFinished)
  }

  @Test func headersAboveTheLimitEndTheirStreamOnly() throws {
    _ = error(Raw.greeting)
    let large = HeaderField(name: "x", value: String(repeating: "v", count: 8000))
    let seen = try wire.deliver(
      Raw.headers(1, requestFields, flags: 0) + Raw.frame(9, stream: 1, Raw.block([large]))
        + Raw.frame(9, flags: 4, stream: 1, Raw.block([large, large].dropLast()))
        + Raw.headers(3, requestFields),
      to: server)
    #expect(seen.headers(of: StreamID(rawValue: 1)).count == 1, "16,000 bytes and a bit are within 16 KiB")
    let more = try wire.deliver(
      Raw.headers(5, requestFields, flags: 0) + Raw.frame(9, stream: 5, Raw.block([large]))
        + Raw.frame(9, flags: 4, stream: 5, Raw.block([large, large])) + Raw.headers(7, requestFields),
      to: server)
    #expect(more.headers(of: StreamID(rawValue: 5)).isEmpty)
    #expect(more.headers(of: StreamID(rawValue: 7)) == [requestFields])
    let answer = try wire.produced(server)
    #expect(frameTypes(answer).filter { $0 == 3 }.count == 1)
    #expect(wire.taken(server).closeCode(of: StreamID(rawValue: 5)) == nil, "its owner never knew of it")
    #expect(server.failure == nil)
  }

  /// One table entry of 900 bytes, referred to 16,000 times with one byte each: 14 MB decoded.
  @Test func headerBombIsCountedDecoded() throws {
    _ = error(Raw.greeting)
    let value = [UInt8](repeating: 0x61, count: 900)
    let entry: [UInt8] =
      [0x40, 1, 0x78, 127, UInt8((900 - 127) & 0x7f) | 0x80, UInt8((900 - 127) >> 7)] + value
    let block = Raw.block(requestFields) + entry + [UInt8](repeating: 0x80 | 62, count: 15_000)
    let seen = try wire.deliver(Raw.frame(1, flags: 4, stream: 1, block), to: server)
    #expect(seen.headers(of: StreamID(rawValue: 1)).isEmpty)
    #expect(frameTypes(try wire.produced(server)).contains(3))
  }

  @Test func streamsAboveTheLimitAreRefused() throws {
    let limit = Limits().streamsPerConnection
    _ = error(Raw.greeting)
    _ = try wire.produced(server)
    let many = (0..<limit + 5).flatMap { Raw.headers(UInt32($0) * 2 + 1, requestFields) }
    let seen = try wire.deliver(many, to: server)
    #expect(seen.count == limit)
    let answer = try wire.produced(server)
    #expect(frameTypes(answer).filter { $0 == 3 }.count == 5)
    #expect(server.failure == nil)
  }

  @Test(arguments: [
    ("DATA on stream 0", Raw.data(0, [1]), HTTP2ErrorCode.protocolError),
    ("DATA on an idle stream", Raw.data(5, [1]), HTTP2ErrorCode.protocolError),
    ("even stream", Raw.headers(2, requestFields), HTTP2ErrorCode.protocolError),
    ("SETTINGS of 5 bytes", Raw.frame(4, [0, 0, 0, 0, 0]), HTTP2ErrorCode.frameSizeError),
    ("PING of 7 bytes", Raw.frame(6, [0, 0, 0, 0, 0, 0, 0]), HTTP2ErrorCode.frameSizeError),
    ("window overflow", Raw.windowUpdate(0, 0x7fff_ffff), HTTP2ErrorCode.flowControlError),
    (
      "bad HPACK index", Raw.frame(1, flags: 5, stream: 1, [0xff, 0xff, 0xff, 0x7f]),
      HTTP2ErrorCode.compressionError
    ),
    ("push from a client", Raw.frame(5, flags: 4, stream: 1, [0, 0, 0, 2]), HTTP2ErrorCode.protocolError),
    ("frame of 16 MiB", [0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1], HTTP2ErrorCode.frameSizeError),
  ])
  func violations(name: String, bytes: [UInt8], code: UInt32) throws {
    #expect(error(Raw.greeting + bytes) == nil)
    try expectGoAway(code)
    guard case .violation(code, _) = server.failure else {
      Issue.record("\(name): \(String(describing: server.failure))")
      return
    }
    #expect(server.failure?.blame == .peer)
    #expect(error(Raw.ping(1)) != nil)
  }

  @Test(arguments: [
    [HeaderField(name: "connection", value: "close")], [HeaderField(name: "Upper", value: "x")],
    [HeaderField(name: ":path", value: "/twice")], [HeaderField(name: ":authority", value: "twice")],
    [HeaderField(name: "te", value: "gzip")],
  ])
  func badFieldsResetTheirStream(extra: HeaderList) throws {
    _ = error(Raw.greeting)
    let seen = try wire.deliver(Raw.headers(1, requestFields + extra), to: server)
    #expect(seen.isEmpty)
    #expect(frameTypes(try wire.produced(server)).contains(3))
    #expect(wire.taken(server).isEmpty && server.failure == nil)
  }

  @Test func serverThatIsNoServer() throws {
    #expect(throws: Never.self) { try wire.deliver(Array("HTTP/1.1 400 Bad\r\n\r\n".utf8), to: wire.client) }
    _ = try wire.produced(wire.client)
    #expect(wire.client.isFinished && wire.client.failure?.blame == .peer)
  }

  @Test func goAwayTextIsCut() throws {
    let text = [UInt8](repeating: 0xff, count: 5000)
    let bytes = Raw.greeting + Raw.frame(7, Raw.number(0) + Raw.number(11) + text)
    let seen = try wire.deliver(bytes, to: server)
    #expect(
      seen.last == .goAway(StreamID(rawValue: 0), 11, String(repeating: "\u{fffd}", count: 256)))
  }
}
