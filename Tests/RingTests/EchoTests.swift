// Goal: bytes come back as they went, over every driver, for one connection and for many.
// Method: an echoing host and witnesses on one loop.

import Primitives
import Testing

@testable import Ring

@Suite struct EchoTests {
  @Test(arguments: Stage.allCases)
  func onePieceComesBack(_ stage: Stage) throws {
    let bench = try Bench(stage)
    let host = Host { _, _ in Echo(bench.loop) }
    let listener = try bench.loop.listen(at: bench.anyAddress, backlog: 16, host)
    let address = try #require(bench.loop.boundAddress(listener))
    let client = Witness(bench.loop)
    let socket = bench.loop.connect(to: address, client)
    #expect(bench.run { client.connected == 1 })
    bench.loop.send(socket, buffer("hello".utf8))
    #expect(bench.run { client.received.count == 5 })
    #expect(client.received == Array("hello".utf8))
    #expect(client.sent == 1)
    bench.loop.close(socket)
    #expect(bench.run { client.closed == 1 })
  }
}
