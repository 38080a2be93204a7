// Goal: each event of a stream gives the one right action, and every call ends exactly once.
// Method: one event, one expected action; random event orders with a printed seed for the "once".

import GRPC
import HTTP2
import Primitives
import Testing

let responseFields = fields((":status", "200"), ("content-type", "application/grpc"), ("server", "x"))
let okFields = fields(("grpc-status", "0"))

func framed(_ message: [UInt8]) -> [UInt8] { MessageFramer.framed(message[...]) }

extension ClientCallState {
  mutating func received(_ bytes: [UInt8], endOfStream: Bool = false) {
    unsafe bytes.withUnsafeBytes { unsafe received(data: $0, endOfStream: endOfStream) }
  }
}

extension ServerCallState {
  mutating func received(_ bytes: [UInt8], endOfStream: Bool = false) {
    unsafe bytes.withUnsafeBytes { unsafe received(data: $0, endOfStream: endOfStream) }
  }
}

@Suite struct ClientCallStateTests {
  var call = ClientCallState(maximumMessageBytes: 100)

  mutating func accepted() {
    #expect(
      call.received(headers: responseFields, endOfStream: false) == .accepted(fields(("server", "x"))))
  }

  @Test mutating func regularCall() {
    #expect(call.next() == .wait && call.maySend)
    #expect(call.halfClose() == .endSending)
    #expect(call.halfClose() == .nothing && !call.maySend)
    accepted()
    call.received(framed([1]) + framed([2, 3]))
    #expect(call.next() == .message([1]))
    #expect(call.next() == .message([2, 3]))
    #expect(call.next() == .wait)
    #expect(call.received(headers: okFields, endOfStream: true) == .takeNext)
    #expect(call.next() == .ended(.ok, reset: nil))
    #expect(call.isOver && call.next() == .wait)
    call.streamClosed(errorCode: 0)
    #expect(call.next() == .wait)
  }

  @Test mutating func messagesComeBeforeTheEnd() {
    accepted()
    call.received(framed([1]))
    _ = call.received(headers: okFields, endOfStream: true)
    call.streamClosed(errorCode: HTTP2ErrorCode.noError)
    #expect(call.next() == .message([1]))
    #expect(call.next() == .ended(.ok, reset: nil))
  }

  @Test mutating func serverEndsBeforeWeHalfClosed() {
    accepted()
    _ = call.received(headers: okFields, endOfStream: true)
    #expect(!call.maySend)
    #expect(call.next() == .ended(.ok, reset: HTTP2ErrorCode.noError))
    #expect(call.halfClose() == .nothing)
  }

  @Test mutating func informationalHeadersAreSkipped() {
    #expect(call.received(headers: fields((":status", "103")), endOfStream: false) == .ignore)
    accepted()
  }

  @Test(arguments: [
    (
      fields(
        (":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "7"),
        ("grpc-message", "no%21")), StatusCode.permissionDenied, "no!"
    ),
    (
      fields((":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "99")), .unknown,
      "unknown grpc-status"
    ),
    (
      fields((":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "-1")), .unknown,
      "unknown grpc-status"
    ),
    (
      fields(
        (":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "0x1"),
        ("grpc-message", "m")), .unknown, "m"
    ),
    (fields((":status", "503"), ("grpc-status", "8"), ("grpc-message", "busy")), .resourceExhausted, "busy"),
    (
      fields((":status", "503"), ("content-type", "text/html")), .unavailable,
      "HTTP status 503 without a gRPC status"
    ),
    (
      fields((":status", "200"), ("content-type", "text/html")), .unknown,
      "HTTP status 200 without a gRPC status"
    ),
    (
      fields((":status", "200"), ("content-type", "application/grpc")), .unknown,
      "HTTP status 200 without a gRPC status"
    ),
  ])
  func endsWithHeadersAlone(headers: HeaderList, code: StatusCode, message: String) {
    var call = call
    _ = call.halfClose()
    #expect(call.received(headers: headers, endOfStream: true) == .takeNext)
    #expect(call.next() == .ended(GRPCStatus(code, message), reset: nil))
  }

  @Test mutating func notGRPCAndStillOpenIsCancelled() {
    let page = fields((":status", "404"), ("content-type", "text/html"))
    #expect(call.received(headers: page, endOfStream: false) == .takeNext)
    guard case .ended(let status, reset: HTTP2ErrorCode.cancel) = call.next() else {
      Issue.record("no end")
      return
    }
    #expect(status.code == .unimplemented)
  }

  @Test mutating func trailersWithoutStatus() {
    accepted()
    _ = call.halfClose()
    _ = call.received(headers: fields(("x", "y")), endOfStream: true)
    #expect(call.next() == .ended(GRPCStatus(httpStatus: 200), reset: nil))
  }

  @Test mutating func secondHeadersThatAreNoTrailers() {
    accepted()
    #expect(call.received(headers: okFields, endOfStream: false) == .takeNext)
    #expect(endCode() == .internalError)
  }

  @Test mutating func endWithoutTrailers() {
    accepted()
    call.received([], endOfStream: true)
    #expect(endCode() == .internalError)
  }

  @Test mutating func dataBeforeHeaders() {
    call.received(framed([1]))
    #expect(endCode() == .internalError)
  }

  @Test mutating func okDoesNotHideATornMessage() {
    accepted()
    call.received([0, 0, 0, 0, 9, 1])
    _ = call.received(headers: okFields, endOfStream: true)
    #expect(endCode() == .internalError)
  }

  @Test mutating func oversizeMessageCancels() {
    accepted()
    call.received([0, 255, 255, 255, 255])
    guard case .ended(let status, reset: HTTP2ErrorCode.cancel) = call.next() else {
      Issue.record("no end")
      return
    }
    #expect(status.code == .resourceExhausted)
  }

  @Test mutating func compressedMessageIsInternal() {
    accepted()
    call.received([1, 0, 0, 0, 1, 0])
    #expect(endCode() == .internalError)
  }

  @Test mutating func resetsAndLosses() {
    call.streamClosed(errorCode: HTTP2ErrorCode.refusedStream)
    #expect(endCode() == .unavailable)
    call = ClientCallState(maximumMessageBytes: 1)
    call.connectionLost()
    #expect(call.next() == .ended(GRPCStatus(.unavailable, "the connection was lost"), reset: nil))
    call = ClientCallState(maximumMessageBytes: 1)
    call.cancel(GRPCStatus(.deadlineExceeded))
    call.cancel()
    #expect(call.next() == .ended(GRPCStatus(.deadlineExceeded), reset: HTTP2ErrorCode.cancel))
  }

  mutating func endCode() -> StatusCode? {
    if case .ended(let status, _) = call.next() { status.code } else { nil }
  }

  @Test(arguments: 0..<50)
  func endsExactlyOnceWhateverHappens(round: Int) {
    let seed = 0x6ca1_1000 + UInt64(round)
    var random = SeededGenerator(seed: seed)
    var call = ClientCallState(maximumMessageBytes: 10)
    var ends = 0
    for _ in 0..<200 {
      let endOfStream = Bool.random(using: &random)
      switch Int.random(in: 0...6, using: &random) {
      case 0: _ = call.received(headers: responseFields, endOfStream: endOfStream)
      case 1: _ = call.received(headers: okFields, endOfStream: endOfStream)
      case 2: call.received([0, 0, 0, 0, UInt8.random(in: 0...20, using: &random)], endOfStream: endOfStream)
      case 3: _ = call.halfClose()
      case 4 where ends > 0: call.streamClosed(errorCode: UInt32.random(in: 0...20, using: &random))
      case 5 where ends > 0: call.connectionLost()
      default: break
      }
      if case .ended = call.next() { ends += 1 }
    }
    call.connectionLost()
    while case .message = call.next() {}
    if case .ended = call.next() { ends += 1 }
    #expect(ends <= 1 && call.isOver, "seed \(seed)")
  }
}

@Suite struct ServerCallStateTests {
  static func make(encoding: String? = nil) throws -> ServerCallState {
    let extra = encoding.map { fields(("grpc-encoding", $0)) } ?? []
    let head = try RequestHead(parsing: requestFields(adding: extra))
    return ServerCallState(head: head, maximumMessageBytes: 100)
  }

  @Test func regularCall() throws {
    var call = try Self.make()
    #expect(!call.maySend)
    #expect(call.accept() == .sendHeaders(ResponseHeaders.accepted))
    #expect(call.accept() == .nothing && call.maySend)
    call.received(framed([1]) + framed([]), endOfStream: true)
    #expect(call.next() == .message([1]))
    #expect(call.next() == .message([]))
    #expect(call.next() == .requestsDone)
    #expect(call.next() == .wait)
    #expect(call.finish(.ok) == .sendTrailers(ResponseHeaders.trailers(.ok)))
    #expect(call.finish(.ok) == .nothing && !call.maySend)
    #expect(call.streamClosed() == .wasFinished)
    #expect(call.streamClosed() == .nothing)
  }

  @Test func refusedBeforeHeaders() throws {
    var call = try Self.make()
    let status = GRPCStatus(.permissionDenied, "no cluster")
    #expect(call.finish(status) == .sendTrailersOnly(ResponseHeaders.trailersOnly(status)))
    #expect(call.accept() == .nothing)
    call.received(framed([1]))
    #expect(call.next() == .wait)
  }

  @Test func clientGoesAway() throws {
    var call = try Self.make()
    _ = call.accept()
    #expect(call.streamClosed() == .cancelled(GRPCStatus(.cancelled, "the client is gone")))
    #expect(call.finish(.ok) == .nothing && call.accept() == .nothing)
  }

  @Test func endOfStreamOnHeaders() throws {
    var call = try Self.make()
    call.receivedEnd()
    #expect(call.next() == .requestsDone)
  }

  @Test func faults() throws {
    let cases: [(String?, [UInt8], StatusCode)] = [
      (nil, [1, 0, 0, 0, 0], .internalError), ("identity", [1, 0, 0, 0, 0], .internalError),
      ("gzip", [1, 0, 0, 0, 0], .unimplemented), (nil, [0, 0, 0, 0, 101], .resourceExhausted),
      (nil, [7, 0, 0, 0, 0], .internalError),
    ]
    for (encoding, bytes, code) in cases {
      var call = try Self.make(encoding: encoding)
      call.received(bytes)
      guard case .fail(let status) = call.next() else {
        Issue.record("\(bytes) was taken")
        continue
      }
      #expect(status.code == code)
      #expect(call.finish(status) == .sendTrailersOnly(ResponseHeaders.trailersOnly(status)))
    }
  }

  @Test func tornMessageAtTheEnd() throws {
    var call = try Self.make()
    call.received([0, 0, 0, 0, 5, 1], endOfStream: true)
    guard case .fail(let status) = call.next() else {
      Issue.record("torn message was taken")
      return
    }
    #expect(status.code == .internalError)
  }
}
