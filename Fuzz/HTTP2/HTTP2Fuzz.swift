// Goal: no sequence of bytes from a peer stops the process or escapes its limits in HTTP2 and GRPC.
// Method: the input is cut into reads at its own bytes; every event is answered as a server (or read as a
// client) would, with the call's state machine on top; what must hold afterwards is checked.

import GRPC
import HTTP2
import Primitives

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  guard let start = unsafe start, count > 1 else { return 0 }
  let input = unsafe UnsafeRawBufferPointer(start: start, count: count)
  unsafe Peer(asServer: input[0] & 1 == 0).read(UnsafeRawBufferPointer(rebasing: input[1...]))
  return 0
}

private struct Peer {
  private static let preface: StaticString = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
  private let isServer: Bool
  private let session: HTTP2Session
  private let output = IOBuffer()
  private var calls: [StreamID: ServerCallState] = [:]

  init(asServer: Bool) {
    isServer = asServer
    session = HTTP2Session(role: asServer ? .server : .client, limits: Limits())
  }

  consuming func read(_ input: UnsafeRawBufferPointer) {
    do throws(HTTP2Error) {
      if isServer {
        // The fuzzer need not find the preface byte by byte.
        try unsafe feed(
          UnsafeRawBufferPointer(start: Self.preface.utf8Start, count: Self.preface.utf8CodeUnitCount))
      } else {
        _ = try session.request(RequestHeaders.call(path: "/s/m", authority: "peer"))
      }
      var rest = unsafe input
      while let first = unsafe rest.first {
        // Reads of 1 … 128 bytes, chosen by the input itself.
        let count = min(rest.count, Int(first & 127) + 1)
        try unsafe feed(UnsafeRawBufferPointer(rebasing: rest[..<count]))
        unsafe rest = UnsafeRawBufferPointer(rebasing: rest[count...])
      }
    } catch {
      // A broken peer: what is left to say is one GOAWAY.
      try? session.produce(into: output, upTo: 1 << 16)
    }
  }

  private mutating func feed(_ bytes: UnsafeRawBufferPointer) throws(HTTP2Error) {
    try unsafe session.receive(bytes, now: Instant(nanoseconds: 0))
    while let event = session.nextEvent() { unsafe answer(event) }
    try session.produce(into: output, upTo: 1 << 16)
    precondition(output.count <= 1 << 20, "one read made the session say more than a mebibyte")
    output.removeAll()
  }

  private mutating func answer(_ event: HTTP2Event) {
    switch unsafe event {
    case .headers(let id, let fields, let endOfStream):
      guard isServer, calls[id] == nil else { return }
      do throws(RequestRejection) {
        var call = ServerCallState(head: try RequestHead(parsing: fields), maximumMessageBytes: 1 << 16)
        if endOfStream { call.receivedEnd() }
        if case .sendHeaders(let fields) = call.accept() { session.respond(id, fields) }
        calls[id] = call
        advance(id)
      } catch {
        session.respondAndEnd(id, error.response)
      }
    case .data(let id, let bytes, let endOfStream):
      unsafe calls[id]?.received(data: bytes, endOfStream: endOfStream)
      session.consumed(id, bytes.count)
      advance(id)
    case .streamClosed(let id, _):
      _ = calls[id]?.streamClosed()
      calls[id] = nil
    default: break
    }
  }

  private mutating func advance(_ id: StreamID) {
    while let step = calls[id]?.next() {
      switch step {
      case .wait: return
      case .message(let message): session.send(id, head: message, body: nil)
      case .requestsDone: return finish(id, GRPCStatus(.ok))
      case .fail(let status): return finish(id, status)
      }
    }
  }

  private mutating func finish(_ id: StreamID, _ status: GRPCStatus) {
    switch calls[id]?.finish(status) {
    case .sendTrailersOnly(let fields): session.respondAndEnd(id, fields)
    case .sendTrailers(let fields): session.finish(id, trailers: fields)
    case .nothing, nil: break
    }
  }
}
