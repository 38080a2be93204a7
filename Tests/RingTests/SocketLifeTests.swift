// Goal: a socket's whole life and every way it ends, over every driver. Method: pairs of witnesses; each
// test makes one thing happen and looks at what both ends hear, and that nothing of the loop is left over.

import Glibc
import Primitives
import Testing

@testable import Ring

@Suite struct SocketLifeTests {
  @Test(arguments: Stage.allCases)
  func closeWithOperationsInFlight(_ stage: Stage) throws {
    let bench = try Bench(stage)
    let (client, server) = try bench.pair()
    bench.loop.pauseReceiving(try #require(client.socket))
    server.send(pattern(8 * 1024 * 1024))
    bench.settle()
    #expect(server.sent == 0)
    // Now a send is stuck and a receive is armed.
    server.close()
    server.close()
    #expect(server.closed == 0)
    #expect(bench.run { server.closed == 1 })
    #expect(server.sent == 0 && server.failures.isEmpty, "a closed socket tells nothing but its end")
    client.close()
    #expect(bench.run { client.closed == 1 && bench.loop.sockets.count == 0 })
  }

  @Test(arguments: Stage.allCases)
  func halfClose(_ stage: Stage) throws {
    let bench = try Bench(stage)
    let (client, server) = try bench.pair()
    let socket = try #require(client.socket)
    client.send("question".utf8)
    bench.loop.finishSending(socket)
    #expect(bench.run { server.ends == 1 })
    #expect(server.received == Array("question".utf8), "the end comes after the bytes")
    server.send("answer".utf8)
    #expect(bench.run { client.received.count == 6 })
    server.close()
    #expect(bench.run { client.ends == 1 && server.closed == 1 })
    #expect(client.failures.isEmpty && server.failures.isEmpty)
  }

  @Test(arguments: Stage.allCases)
  func connectionRefused(_ stage: Stage) throws {
    let bench = try Bench(stage)
    let listener = try bench.loop.listen(at: bench.anyAddress, backlog: 1, Host { _, _ in nil })
    let address = try #require(bench.loop.boundAddress(listener))
    bench.loop.closeListener(listener)
    bench.settle()
    #expect(bench.loop.boundAddress(listener) == nil)
    let client = Witness(bench.loop)
    let socket = bench.loop.connect(to: address, client)
    #expect(bench.run { !client.failures.isEmpty })
    #expect(client.failures == [.connectFailed(address, errno: ECONNREFUSED)])
    #expect(client.connected == 0)
    bench.loop.close(socket)
    #expect(bench.run { client.closed == 1 })
  }

  @Test(arguments: Stage.kernels)
  func connectThatCannotBegin(_ stage: Stage) throws {
    let bench = try Bench(stage)
    let missing = SocketAddress.unix(path: "/tmp/meshrelay-no-such-folder/x.sock")
    let tooLong = SocketAddress.unix(path: "/" + String(repeating: "x", count: 200))
    let clients = [missing, tooLong].map { address in
      let client = Witness(bench.loop)
      client.socket = bench.loop.connect(to: address, client)
      #expect(client.failures.isEmpty, "told later, not within the call")
      return client
    }
    #expect(bench.run { clients.allSatisfy { !$0.failures.isEmpty } })
    #expect(clients[0].failures == [.connectFailed(missing, errno: ENOENT)])
    #expect(clients[1].failures == [.connectFailed(tooLong, errno: ENAMETOOLONG)])
    for client in clients { client.close() }
    #expect(bench.run { bench.loop.sockets.count == 0 })
  }

  @Test(arguments: Stage.allCases)
  func closeWhileConnecting(_ stage: Stage) throws {
    let bench = try Bench(stage)
    let address = try bench.echoHost()
    let client = Witness(bench.loop)
    bench.loop.close(bench.loop.connect(to: address, client))
    #expect(bench.run { client.closed == 1 && bench.loop.sockets.count == 0 })
    #expect(client.connected == 0 && client.failures.isEmpty)
  }

  @Test(arguments: Stage.kernels)
  func closeWhileAConnectHangs(_ stage: Stage) throws {
    let bench = try Bench(stage)
    // A full queue that nobody accepts from drops further connects without a word.
    let full = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { _ = Glibc.close(full) }
    let wanted = try #require(SocketAddressMemory(bench.anyAddress))
    #expect(unsafe bind(full, wanted.pointer, wanted.length) == 0 && listen(full, 0) == 0)
    let address = try #require(KernelSockets.localAddress(of: full))
    let clients = (0..<8).map { _ in
      let client = Witness(bench.loop)
      client.socket = bench.loop.connect(to: address, client)
      return client
    }
    bench.settle()
    #expect(
      clients.contains { $0.connected == 0 && $0.failures.isEmpty }, "no connect hangs: nothing was tested")
    for client in clients { client.close() }
    #expect(bench.run { clients.allSatisfy { $0.closed == 1 } && bench.loop.sockets.count == 0 })
  }

  @Test(arguments: Stage.allCases)
  func sendToADeadPeer(_ stage: Stage) throws {
    let bench = try Bench(stage)
    let (client, server) = try bench.pair()
    // Unread bytes at the server make its close a reset.
    bench.loop.pauseReceiving(try #require(server.socket))
    client.send(pattern(100_000))
    #expect(bench.run { client.sent == 1 })
    bench.settle()
    client.onEvent = { client, socket in
      guard client.failures.isEmpty, client.closed == 0 else { return }
      client.loop.send(socket, buffer(pattern(1000)))
    }
    server.close()
    client.send(pattern(1000))
    #expect(bench.run { !client.failures.isEmpty })
    let failed = client.failures[0].number
    #expect(failed == ECONNRESET || failed == EPIPE)
    client.onEvent = { _, _ in }
    client.send("ignored".utf8)
    client.close()
    #expect(bench.run { client.closed == 1 && bench.loop.sockets.count == 0 })
    #expect(client.failures.count == 1, "a failure is told once")
  }

  @Test(arguments: Stage.allCases)
  func staleNamesAreIgnored(_ stage: Stage) throws {
    let bench = try Bench(stage)
    let (client, server) = try bench.pair()
    let stale = try #require(client.socket)
    client.close()
    #expect(bench.run { client.closed == 1 && server.ends == 1 })
    server.close()
    #expect(bench.run { bench.loop.sockets.count == 0 })
    // The same rows, new sockets.
    let (second, other) = try bench.pair()
    #expect(second.socket?.slot == stale.slot || other.socket?.slot == stale.slot)
    let before = bench.loop.counters.stale
    bench.loop.send(stale, buffer("nobody".utf8))
    bench.loop.pauseReceiving(stale)
    bench.loop.resumeReceiving(stale)
    bench.loop.finishSending(stale)
    bench.loop.close(stale)
    #expect(bench.loop.counters.stale == before + 5)
    second.send("still here".utf8)
    #expect(bench.run { other.received.count == 10 })
    #expect(other.received == Array("still here".utf8))
  }

  @Test(arguments: Stage.allCases)
  func refusedByTheAcceptor(_ stage: Stage) throws {
    let bench = try Bench(stage)
    let host = Host { _, _ in nil }
    let client = Witness(bench.loop)
    client.socket = bench.loop.connect(to: try bench.address(of: host), client)
    #expect(bench.run { client.ends == 1 })
    #expect(host.accepted == 1)
    client.close()
    #expect(bench.run { bench.loop.sockets.count == 0 })
  }

  @Test(arguments: Stage.allCases)
  func socketUsedWithinAccepted(_ stage: Stage) throws {
    let bench = try Bench(stage)
    let server = Witness(bench.loop)
    let host = Host { socket, _ in
      server.socket = socket
      bench.loop.pauseReceiving(socket)
      bench.loop.send(socket, buffer("welcome".utf8))
      return server
    }
    let client = Witness(bench.loop)
    client.socket = bench.loop.connect(to: try bench.address(of: host), client)
    #expect(bench.run { client.received.count == 7 && server.sent == 1 })
    client.send("kept".utf8)
    bench.settle()
    #expect(server.received.isEmpty)
    bench.loop.resumeReceiving(try #require(server.socket))
    #expect(bench.run { server.received == Array("kept".utf8) })
  }

  @Test(arguments: Stage.allCases)
  func bytesAndEndAreKeptWhilePaused(_ stage: Stage) throws {
    let bench = try Bench(stage)
    let (client, server) = try bench.pair()
    let socket = try #require(server.socket)
    bench.settle()
    // Pausing races with what the kernel delivers: nothing may be lost or told.
    client.send("first".utf8)
    bench.loop.pauseReceiving(socket)
    #expect(bench.run { client.sent == 1 })
    bench.loop.finishSending(try #require(client.socket))
    bench.settle()
    #expect(server.received.isEmpty && server.ends == 0)
    // Paused again before anything could be delivered: still silent.
    bench.loop.resumeReceiving(socket)
    bench.loop.pauseReceiving(socket)
    bench.settle()
    #expect(server.received.isEmpty && server.ends == 0)
    bench.loop.resumeReceiving(socket)
    #expect(server.received.isEmpty, "told later, not within the call")
    #expect(bench.run { server.ends == 1 })
    #expect(server.received == Array("first".utf8))
  }

  @Test(arguments: Stage.allCases)
  func closedByAnotherHandlerOfTheSameBatch(_ stage: Stage) throws {
    let bench = try Bench(stage)
    var servers: [Witness] = []
    let host = Host { socket, _ in
      let server = Witness(bench.loop)
      server.socket = socket
      server.onEvent = { server, _ in
        // Whoever is told first closes all.
        if !server.received.isEmpty { for other in servers { other.close() } }
      }
      servers.append(server)
      return server
    }
    let address = try bench.address(of: host)
    let clients = (0..<20).map { _ in
      let client = Witness(bench.loop)
      client.socket = bench.loop.connect(to: address, client)
      return client
    }
    #expect(bench.run { servers.count == 20 && clients.allSatisfy { $0.connected == 1 } })
    for client in clients { client.send("now".utf8) }
    #expect(bench.run { servers.allSatisfy { $0.closed == 1 } })
    for client in clients { client.close() }
    #expect(bench.run { bench.loop.sockets.count == 0 })
  }

  /// Holds nothing, so that only the loop keeps it alive.
  private final class Mute: SocketHandler, Acceptor {
    var socket: SocketID?
    func accepted(_ socket: SocketID, from peer: SocketAddress) -> (any SocketHandler)? {
      self.socket = socket
      return self
    }
    func socketConnected(_ socket: SocketID) { self.socket = socket }
    func socketReceived(_ socket: SocketID, _ bytes: UnsafeRawBufferPointer) {}
    func socketSent(_ socket: SocketID, _ buffer: IOBuffer) {}
    func socketReachedEnd(_ socket: SocketID) {}
    func socketFailed(_ socket: SocketID, _ error: RingError) {}
    func socketClosed(_ socket: SocketID) {}
  }

  @Test(arguments: Stage.allCases)
  func loopThatGoesAwayInTheMiddle(_ stage: Stage) throws {
    weak var forgotten: Mute?
    weak var lent: IOBuffer?
    do {
      let bench = try Bench(stage)
      let (client, server) = (Mute(), Mute())
      forgotten = server
      let listener = try bench.loop.listen(at: bench.anyAddress, backlog: 1, server)
      let address = try #require(bench.loop.boundAddress(listener))
      let socket = bench.loop.connect(to: address, client)
      #expect(bench.run { client.socket != nil && server.socket != nil })
      bench.loop.pauseReceiving(socket)
      let bytes = buffer(pattern(8 * 1024 * 1024))
      lent = bytes
      bench.loop.send(try #require(server.socket), bytes)
      bench.settle()
      #expect(lent?.isEmpty == false, "still in flight")
    }
    #expect(forgotten == nil, "the loop lets go of its handlers")
    #expect(lent == nil, "and of the buffers in flight")
  }
}
