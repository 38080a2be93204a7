// Goal: no peer stops the process, holds a connection open that is over, or keeps others out. Method: bytes a
// polite client never sends, given to a plain-text server; silent strangers in numbers; a peer that reads nothing.

import GRPC
import HTTP2
import Primitives
import Ring
import TLS
import Testing
import Transport

@Suite(.serialized) struct HostilePeerTests {
  /// Sends what a session of its own makes, and whatever bytes a test adds.
  private final class RawClient: SocketHandler {
    let loop: EventLoop
    let session = HTTP2Session(role: .client, limits: Limits())
    var socket: SocketID?
    var hasConnected = false
    var hasEnded = false
    var statuses: [String] = []
    private var isSending = false

    init(_ loop: EventLoop, to address: SocketAddress) {
      self.loop = loop
      socket = loop.connect(to: address, self)
    }

    /// Writes what the session has, then `extra`, as one piece.
    func send(_ extra: [UInt8] = []) throws {
      let buffer = IOBuffer()
      try session.produce(into: buffer, upTo: 1 << 20)
      buffer.append(extra)
      guard let socket, !isSending, !buffer.isEmpty else { return }
      isSending = true
      loop.send(socket, buffer)
    }

    func socketConnected(_ socket: SocketID) { hasConnected = true }
    func socketReceived(_ socket: SocketID, _ bytes: UnsafeRawBufferPointer) {
      guard unsafe (try? session.receive(bytes, now: loop.now)) != nil else { return }
      while let event = session.nextEvent() {
        if case .headers(_, let headers, _) = event {
          statuses += headers.filter { $0.name == ":status" || $0.name == "grpc-status" }.map(\.value)
        }
      }
    }
    func socketSent(_ socket: SocketID, _ buffer: consuming IOBuffer) { isSending = false }
    func socketReachedEnd(_ socket: SocketID) { hasEnded = true }
    func socketFailed(_ socket: SocketID, _ error: RingError) { hasEnded = true }
    func socketClosed(_ socket: SocketID) {}
  }

  private func plaintext(_ kind: DriverKind) throws -> (Pair, RawClient) {
    let pair = try Pair(kind)
    pair.server.security = .plaintext
    let client = RawClient(pair.loop, to: try #require(pair.listener.address))
    pair.run { client.hasConnected }
    return (pair, client)
  }

  @Test(arguments: ConnectionTests.drivers) func ownerKnowsAPlainConnectionBeforeItIsVerified(
    _ kind: DriverKind
  )
    throws
  {
    let pair = try Pair(kind)
    pair.server.security = .plaintext
    var known = -1
    pair.server.onVerified = { _ in known = pair.server.connections.count }
    let client = Recorder()
    pair.server.answer = { call, _ in
      call.finish(.ok)
      return Recorder()
    }
    pair.client.onReady = { _ = $0.open(path: "/test.Echo/Talk", authority: "test", client) }
    try pair.dial(.plaintext)
    pair.run { client.status != nil }
    #expect(known == 1)
    #expect(client.status == .ok)
  }

  /// A request that is turned away and has trailers, all in one piece: two header blocks of one stream.
  @Test(arguments: ConnectionTests.drivers) func trailersOfARefusedRequestAreNoSecondRequest(
    _ kind: DriverKind
  )
    throws
  {
    let (pair, client) = try plaintext(kind)
    let stream = try client.session.request([
      HeaderField(name: ":method", value: "GET"), HeaderField(name: ":scheme", value: "http"),
      HeaderField(name: ":path", value: "/"), HeaderField(name: ":authority", value: "test"),
    ])
    client.session.finish(stream, trailers: [HeaderField(name: "x-more", value: "1")])
    try client.send()
    pair.run { !client.statuses.isEmpty }
    #expect(client.statuses.count == 1, "answered once: \(client.statuses)")
  }

  @Test(arguments: ConnectionTests.drivers) func connectionEndsAfterTheGoAwayThatAnswersAFault(
    _ kind: DriverKind
  )
    throws
  {
    let (pair, client) = try plaintext(kind)
    // SETTINGS with a length that is no multiple of six. RFC 9113 §6.5.
    try client.send([0, 0, 1, 4, 0, 0, 0, 0, 0, 0])
    pair.run { client.hasEnded && pair.server.connections.isEmpty }
    #expect(client.hasEnded)
    #expect(pair.server.connections.isEmpty)
  }

  @Test(arguments: ConnectionTests.drivers) func silentStrangersKeepNobodyOut(_ kind: DriverKind) throws {
    var limits = Limits()
    limits.handshakesAtOnce = 2
    // Longer than the test takes: only a lost turn can let the others in.
    limits.handshake = .seconds(600)
    let pair = try Pair(kind, limits: limits)
    let address = try #require(pair.listener.address)
    let mutes = (0..<6).map { _ in RawClient(pair.loop, to: address) }
    pair.run { pair.server.connections.count == mutes.count }
    try pair.dial()
    pair.run { pair.client.notes.contains(.ready) }
    #expect(pair.client.notes.contains(.ready))
  }

  /// The client gives no flow-control credit back, so the call's messages can never all be written.
  @Test(arguments: ConnectionTests.drivers) func finishWaitsForNoReader(_ kind: DriverKind) throws {
    let (pair, client) = try plaintext(kind)
    let body = SharedBody([SegmentList(bytes: [UInt8](repeating: 1, count: 32_000_000))], depth: .whole)
    pair.server.answer = { call, _ in
      call.send(head: [], body: body)
      return Recorder()
    }
    _ = try client.session.request(RequestHeaders.call(path: "/test.Echo/Big", authority: "test"))
    try client.send()
    pair.run { client.statuses.count == 1 }
    pair.run(turns: 50) { false }
    pair.server.connections.first?.finish(GRPCStatus(.unavailable, "a grant ended"))
    pair.run { client.hasEnded }
    #expect(client.statuses == ["200", "14"])
  }
}
