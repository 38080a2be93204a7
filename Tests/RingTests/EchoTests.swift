// Goal: bytes come back as they went, over every driver: one piece, many connections, megabytes, both
// families. Method: an echoing host and witnesses on one loop; contents are compared byte by byte.

import Glibc
import Primitives
import Testing

@testable import Ring

@Suite struct EchoTests {
  @Test(arguments: Stage.allCases)
  func onePieceComesBack(_ stage: Stage) throws {
    let bench = try Bench(stage)
    let client = Witness(bench.loop)
    let socket = bench.loop.connect(to: try bench.echoHost(), client)
    #expect(client.connected == 0, "told later, not within the call")
    #expect(bench.run { client.connected == 1 })
    bench.loop.send(socket, buffer("hello".utf8))
    #expect(client.sent == 0, "told later, not within the call")
    #expect(bench.run { client.received.count == 5 && client.sent == 1 })
    #expect(client.received == Array("hello".utf8))
    bench.loop.close(socket)
    #expect(client.closed == 0, "told later, not within the call")
    #expect(bench.run { client.closed == 1 })
    #expect(bench.run { bench.loop.sockets.count == 0 }, "the host's end closes as well")
  }

  @Test(arguments: Stage.allCases)
  func manyConnections(_ stage: Stage) throws {
    let bench = try Bench(stage)
    let address = try bench.echoHost()
    let clients = (0..<200).map { number in
      let client = Witness(bench.loop)
      client.onEvent = { client, socket in
        // Three rounds each, of a size of its own; the next begins when the last is back.
        let size = 100 + number * 37
        guard client.received.count == client.sent * size, client.sent < 3 else { return }
        guard client.connected == 1, client.closed == 0 else { return }
        client.loop.send(socket, buffer(pattern(size, seed: UInt64(number * 3 + client.sent))))
      }
      client.socket = bench.loop.connect(to: address, client)
      return client
    }
    let finished = bench.run(most: 40_000) {
      clients.indices.allSatisfy { clients[$0].received.count == 3 * (100 + $0 * 37) }
    }
    #expect(finished)
    for (number, client) in clients.enumerated() {
      let expected = (0..<3).flatMap { pattern(100 + number * 37, seed: UInt64(number * 3 + $0)) }
      #expect(client.received == expected, "connection \(number)")
      client.close()
    }
    #expect(bench.run { bench.loop.sockets.count == 0 })
  }

  @Test(arguments: Stage.allCases)
  func megabytesToASlowReader(_ stage: Stage) throws {
    let bench = try Bench(stage)
    let (client, server) = try bench.pair()
    let socket = try #require(client.socket)
    bench.loop.pauseReceiving(socket)
    let bytes = pattern(8 * 1024 * 1024)
    server.send(bytes)
    bench.settle()
    #expect(server.sent == 0, "a reader that does not read holds the sender up")
    #expect(client.received.isEmpty, "a paused reader hears nothing")
    bench.loop.resumeReceiving(socket)
    #expect(bench.run(most: 40_000) { client.received.count == bytes.count && server.sent == 1 })
    #expect(client.received == bytes)
  }

  @Test(arguments: Stage.kernels)
  func otherFamilies(_ stage: Stage) throws {
    let bench = try Bench(stage)
    let path = "/tmp/meshrelay-ring-\(getpid())-\(stage.rawValue).sock"
    for literal in ["[::1]:0", "unix://" + path] {
      let wanted = try #require(SocketAddress(literal: literal))
      var peers: [SocketAddress] = []
      let host = Host { _, peer in
        peers.append(peer)
        return Echo(bench.loop)
      }
      let listener = try bench.loop.listen(at: wanted, backlog: 4, host)
      let address = try #require(bench.loop.boundAddress(listener))
      let client = Witness(bench.loop)
      let socket = bench.loop.connect(to: address, client)
      #expect(bench.run { client.connected == 1 })
      bench.loop.send(socket, buffer("x".utf8))
      #expect(bench.run { client.received.count == 1 }, "\(literal)")
      #expect(peers.count == 1)
      bench.loop.close(socket)
      bench.loop.closeListener(listener)
      #expect(bench.run { client.closed == 1 })
    }
    _ = unsafe unlink(path)
  }
}
