// Goal: socket, TLS, HTTP/2 and gRPC joined as a connection's life promises. Method: real sockets on every
// driver, a server and a client on one loop, and what each of them heard.

import GRPC
import HTTP2
import Primitives
import Ring
import TLS
import TestCertificates
import Testing
import Transport

@Suite(.serialized) struct ConnectionTests {
  static let drivers: [DriverKind] = [.ioURing, .epoll]

  /// A server whose every call echoes messages and ends OK when the client has ended.
  private func echoing(_ pair: Pair, _ seen: @escaping (Recorder) -> Void = { _ in }) {
    pair.server.answer = { call, head in
      guard head.path == "/test.Echo/Talk" else { return nil }
      let recorder = Recorder()
      recorder.onMessage = { call, message in call.send(head: message) }
      recorder.onHalfClosed = { $0.finish(.ok) }
      call.accept()
      seen(recorder)
      return recorder
    }
  }

  @Test(arguments: drivers) func echoesMessagesAndEnds(_ kind: DriverKind) throws {
    let pair = try Pair(kind)
    echoing(pair)
    let client = Recorder()
    pair.client.onReady = { connection in
      let call = connection.open(path: "/test.Echo/Talk", authority: "test", client)
      connection.batch {
        call?.send(head: [1, 2, 3])
        call?.send(head: [])
        call?.send(head: [UInt8](repeating: 7, count: 100_000))
        call?.end()
      }
    }
    try pair.dial()
    pair.run { client.status != nil }
    #expect(client.status == .ok)
    #expect(client.accepted == 1)
    #expect(client.messages == [[1, 2, 3], [], [UInt8](repeating: 7, count: 100_000)])
  }

  @Test(arguments: drivers) func sharedBodyOfMegabytesArrivesWhole(_ kind: DriverKind) throws {
    let pair = try Pair(kind)
    let part = SegmentList(bytes: (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) })
    let body = SharedBody([part, part], depth: .whole)
    pair.server.answer = { call, _ in
      call.send(head: [9], body: body)
      call.finish(.ok)
      return Recorder()
    }
    let client = Recorder()
    pair.client.onReady = { connection in
      _ = connection.open(path: "/test.Echo/Big", authority: "test", client)
    }
    try pair.dial()
    pair.run { client.status != nil }
    #expect(client.status == .ok)
    #expect(client.messages == [[9] + body.bytes])
  }

  @Test(arguments: drivers) func unknownMethodIsUnimplemented(_ kind: DriverKind) throws {
    let pair = try Pair(kind)
    let client = Recorder()
    pair.client.onReady = { _ = $0.open(path: "/no.Such/Method", authority: "test", client) }
    try pair.dial()
    pair.run { client.status != nil }
    #expect(client.status?.code == .unimplemented)
  }

  @Test(arguments: drivers) func refusedCertificateNeverGetsPastTheHandshake(_ kind: DriverKind) throws {
    let pair = try Pair(kind)
    pair.server.security = try Pair.security(.server) { _ in
      .reject(.badCertificate, reason: "not you", result: .untrusted)
    }
    try pair.dial()
    pair.run {
      pair.server.notes.count >= 1
        && pair.client.notes.contains { if case .closed = $0 { true } else { false } }
    }
    #expect(!pair.server.notes.contains(.verified))
    #expect(pair.server.connections.isEmpty)
    #expect(!pair.client.notes.contains(.dialFailed) || !pair.client.notes.contains(.ready))
  }

  @Test(arguments: drivers) func ownerMayCloseBeforeAnyByteOfHTTP2(_ kind: DriverKind) throws {
    let pair = try Pair(kind)
    pair.server.onVerified = { $0.close(.closedHere(GRPCStatus(.resourceExhausted, "full"))) }
    let client = Recorder()
    pair.client.onReady = { _ = $0.open(path: "/test.Echo/Talk", authority: "test", client) }
    try pair.dial()
    pair.run { client.status != nil && pair.server.connections.isEmpty }
    #expect(client.status?.code == .unavailable)
    #expect(client.accepted == 0)
    #expect(!pair.server.notes.contains(.ready))
  }

  @Test(arguments: drivers) func drainLetsCallsEndThenCloses(_ kind: DriverKind) throws {
    let pair = try Pair(kind)
    var served: Call?
    pair.server.answer = { call, _ in
      served = call
      call.accept()
      return Recorder()
    }
    let client = Recorder()
    pair.client.onReady = { _ = $0.open(path: "/test.Echo/Talk", authority: "test", client) }
    try pair.dial()
    pair.run { client.accepted == 1 }
    pair.server.connections.first?.drain(GRPCStatus(.unavailable, "going"), within: .seconds(30))
    pair.run(turns: 20) { false }
    #expect(client.status == nil, "a call may end by itself while draining")
    served?.finish(.ok)
    pair.run { client.status != nil && pair.server.connections.isEmpty }
    #expect(client.status == .ok)
    #expect(pair.server.connections.isEmpty)
  }

  @Test(arguments: drivers) func finishEndsEveryCallWithItsStatus(_ kind: DriverKind) throws {
    let pair = try Pair(kind)
    echoing(pair)
    let clients = [Recorder(), Recorder()]
    pair.client.onReady = { connection in
      for client in clients { _ = connection.open(path: "/test.Echo/Talk", authority: "test", client) }
    }
    try pair.dial()
    pair.run { clients.allSatisfy { $0.accepted == 1 } }
    pair.server.connections.first?.finish(GRPCStatus(.permissionDenied, "no longer"))
    pair.run { clients.allSatisfy { $0.status != nil } && pair.server.connections.isEmpty }
    for client in clients { #expect(client.status == GRPCStatus(.permissionDenied, "no longer")) }
    #expect(pair.server.connections.isEmpty)
  }

  @Test(arguments: drivers) func oneSlowCallHoldsUpNoOther(_ kind: DriverKind) throws {
    let pair = try Pair(kind)
    let body = SharedBody([SegmentList(bytes: [UInt8](repeating: 1, count: 8_000_000))], depth: .whole)
    pair.server.answer = { call, head in
      call.send(head: [], body: head.path == "/test.Echo/Slow" ? body : nil)
      call.finish(.ok)
      return Recorder()
    }
    let quick = Recorder()
    pair.client.onReady = { connection in
      _ = connection.open(path: "/test.Echo/Slow", authority: "test", Recorder())
      _ = connection.open(path: "/test.Echo/Quick", authority: "test", quick)
    }
    try pair.dial()
    pair.run { quick.status != nil }
    #expect(quick.status == .ok)
  }

  @Test(arguments: drivers) func waitingHandshakesTakeTheirTurn(_ kind: DriverKind) throws {
    var limits = Limits()
    limits.handshakesAtOnce = 1
    let pair = try Pair(kind, limits: limits)
    for _ in 0..<8 { try pair.dial() }
    pair.run { pair.client.notes.filter { $0 == .ready }.count == 8 }
    #expect(pair.client.notes.filter { $0 == .ready }.count == 8)
  }

  @Test(arguments: drivers) func aCallEndsWhenItsClientGivesUp(_ kind: DriverKind) throws {
    let pair = try Pair(kind)
    var heard: [GRPCStatus] = []
    pair.server.answer = { call, head in
      let recorder = Recorder()
      recorder.onEnded = { heard.append($0) }
      switch head.path {
      case "/test.Wait/Silent": break
      case "/test.Wait/Accepted": call.accept()
      // More than the client's window, and the client takes none of it.
      case "/test.Wait/Behind": call.send(head: [UInt8](repeating: 1, count: 3_000_000))
      default: call.finish(.ok)
      }
      return recorder
    }
    let paths = ["Silent", "Accepted", "Behind", "Quick"]
    let clients = paths.map { _ in Recorder() }
    pair.client.onReady = { connection in
      for (path, client) in zip(paths, clients) {
        _ = connection.open(
          path: "/test.Wait/" + path, authority: "test",
          metadata: [HeaderField(name: "grpc-timeout", value: path == "Quick" ? "1H" : "30m")], client)
      }
    }
    try pair.dial()
    pair.run { clients.allSatisfy { $0.status != nil } && heard.count == 4 }
    #expect(clients.map(\.status?.code) == [.deadlineExceeded, .deadlineExceeded, .deadlineExceeded, .ok])
    #expect(heard.map(\.code).sorted { $0.rawValue < $1.rawValue }.last == .deadlineExceeded)
    #expect(pair.server.connections.count == 1, "the connection goes on")
  }

  @Test(arguments: drivers) func silentStrangerIsClosedAtTheDeadline(_ kind: DriverKind) throws {
    var limits = Limits()
    limits.handshake = .milliseconds(20)
    let pair = try Pair(kind, limits: limits)
    let mute = Mute()
    _ = pair.loop.connect(to: try #require(pair.listener.address), mute)
    pair.run { mute.ended }
    #expect(mute.ended)
    #expect(pair.server.notes == [.closed("waited too long for the TLS handshake")])
  }
}

/// Connects and says nothing.
private final class Mute: SocketHandler {
  var ended = false
  func socketConnected(_ socket: SocketID) {}
  func socketReceived(_ socket: SocketID, _ bytes: UnsafeRawBufferPointer) {}
  func socketSent(_ socket: SocketID, _ buffer: consuming IOBuffer) {}
  func socketReachedEnd(_ socket: SocketID) { ended = true }
  func socketFailed(_ socket: SocketID, _ error: RingError) { ended = true }
  func socketClosed(_ socket: SocketID) {}
}
