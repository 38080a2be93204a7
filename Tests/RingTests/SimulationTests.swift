// Goal: the simulated network is deterministic and fails as networks fail: cuts that heal, hosts that
// crash, links that split and shorten, connects that are refused. Method: two hosts with an event loop
// each; virtual time only. A failing seed is in the test's name.

import Glibc
import Primitives
import Testing

@testable import Ring

@Suite struct SimulationTests {
  /// A centre that echoes and an edge with a client.
  private final class Pair {
    let network: SimulatedNetwork
    var centre: EventLoop
    let edge: EventLoop
    let client: Witness
    let address: SocketAddress
    private(set) var greeted = 0

    init(seed: UInt64, _ conditions: LinkConditions = LinkConditions()) throws {
      network = SimulatedNetwork(seed: seed)
      network.conditions = conditions
      centre = EventLoop(driver: SimulatedDriver(network: network, host: "centre"))
      edge = EventLoop(driver: SimulatedDriver(network: network, host: "edge"))
      client = Witness(edge)
      address = network.address(of: "centre", port: 15010)
      try listen()
    }

    func listen() throws {
      let loop = centre
      let host = Host { [unowned self] _, _ in
        greeted += 1
        return Echo(loop)
      }
      _ = try centre.listen(at: .ip4(0, port: 15010), backlog: 16, host)
    }

    /// Dials and waits for the connection.
    func connect() {
      client.socket = edge.connect(to: address, client)
      #expect(network.run(atMost: .seconds(1)) { client.connected == 1 && greeted >= 1 })
    }
  }

  private static func history(seed: UInt64) throws -> (UInt64, [UInt8], Instant) {
    let pair = try Pair(seed: seed, .harsh)
    pair.connect()
    pair.client.send(pattern(200_000, seed: seed))
    #expect(pair.network.run(atMost: .seconds(600)) { pair.client.received.count == 200_000 }, "seed \(seed)")
    return (pair.network.fingerprint, pair.client.received, pair.network.now)
  }

  @Test(arguments: [1, 2, 3, 4, 5] as [UInt64])
  func sameSeedSameHistory(_ seed: UInt64) throws {
    let (first, second) = (try Self.history(seed: seed), try Self.history(seed: seed))
    #expect(first.0 == second.0)
    #expect(first.2 == second.2)
    #expect(first.1 == pattern(200_000, seed: seed), "a harsh link neither loses nor reorders")
    #expect(try Self.history(seed: seed + 1000).0 != first.0)
  }

  @Test func delayIsVirtual() throws {
    var conditions = LinkConditions()
    conditions.delay = .seconds(3600)
    let pair = try Pair(seed: 1, conditions)
    let (began, wall) = (pair.network.now, pair.edge.wallClock)
    pair.client.socket = pair.edge.connect(to: pair.address, pair.client)
    #expect(pair.network.run(atMost: .seconds(8000)) { pair.client.connected == 1 })
    #expect(pair.network.now - began == .seconds(7200))
    #expect(pair.edge.now == pair.network.now)
    #expect(pair.edge.wallClock.seconds - wall.seconds == 7200)
  }

  @Test func cutAndHeal() throws {
    let pair = try Pair(seed: 1)
    pair.connect()
    pair.network.cut("edge", "centre")
    pair.client.send("one".utf8)
    pair.network.run(for: .seconds(100))
    #expect(pair.client.received.isEmpty)
    #expect(pair.client.failures.isEmpty, "a cut link is silent")
    #expect(pair.client.sent == 1, "the local kernel took it")
    pair.client.send("two".utf8)
    pair.network.heal("edge", "centre")
    #expect(pair.network.run(atMost: .seconds(1)) { pair.client.received.count == 6 })
    #expect(pair.client.received == Array("onetwo".utf8), "in order")
  }

  @Test func connectAcrossACut() throws {
    let pair = try Pair(seed: 1)
    pair.network.cut("edge", "centre")
    pair.client.socket = pair.edge.connect(to: pair.address, pair.client)
    pair.network.run(for: .seconds(60))
    #expect(pair.client.connected == 0 && pair.client.failures.isEmpty)
    pair.network.heal("centre", "edge")
    #expect(pair.network.run(atMost: .seconds(1)) { pair.client.connected == 1 })
  }

  @Test func crashedProcess() throws {
    let pair = try Pair(seed: 1)
    pair.connect()
    pair.network.crash("centre")
    #expect(pair.network.run(atMost: .seconds(1)) { !pair.client.failures.isEmpty })
    #expect(pair.client.failures == [.receiveFailed(errno: ECONNRESET)])
    let again = Witness(pair.edge)
    again.socket = pair.edge.connect(to: pair.address, again)
    #expect(pair.network.run(atMost: .seconds(1)) { !again.failures.isEmpty })
    #expect(again.failures == [.connectFailed(pair.address, errno: ECONNREFUSED)])
    // The next process on that host.
    pair.centre = EventLoop(driver: SimulatedDriver(network: pair.network, host: "centre"))
    try pair.listen()
    let third = Witness(pair.edge)
    third.socket = pair.edge.connect(to: pair.address, third)
    #expect(pair.network.run(atMost: .seconds(1)) { third.connected == 1 })
  }

  @Test func powerCut() throws {
    let pair = try Pair(seed: 1)
    pair.connect()
    pair.network.crash("centre", .power)
    let late = Witness(pair.edge)
    late.socket = pair.edge.connect(to: pair.address, late)
    pair.client.send("anyone".utf8)
    pair.network.run(for: .seconds(60))
    #expect(pair.client.failures.isEmpty && late.failures.isEmpty && late.connected == 0, "silence")
    pair.network.restart("centre")
    #expect(pair.network.run(atMost: .seconds(1)) { !pair.client.failures.isEmpty })
    #expect(pair.client.failures == [.receiveFailed(errno: ECONNRESET)])
    late.close()
    #expect(pair.network.run(atMost: .seconds(1)) { late.closed == 1 })
  }

  @Test func crashWithASendInFlight() throws {
    let pair = try Pair(seed: 1)
    pair.connect()
    pair.network.cut("edge", "centre")
    pair.client.send(pattern(4 * 1024 * 1024))
    pair.network.run(for: .seconds(1))
    #expect(pair.client.sent == 0, "the window is full")
    pair.network.crash("edge")
    pair.network.heal("edge", "centre")
    pair.network.run(for: .seconds(10))
    #expect(pair.client.sent == 0 && pair.client.failures.isEmpty, "a crashed host hears nothing")
  }

  @Test func refusedConnects() throws {
    var conditions = LinkConditions()
    conditions.refusedConnects = 0.5
    let pair = try Pair(seed: 3, conditions)
    let clients = (0..<200).map { _ in
      let client = Witness(pair.edge)
      client.socket = pair.edge.connect(to: pair.address, client)
      return client
    }
    pair.network.run(for: .seconds(10))
    let connected = clients.count { $0.connected == 1 }
    let refused = clients.count { $0.failures.first?.number == ECONNREFUSED }
    #expect(connected + refused == 200)
    #expect((60...140).contains(connected), "about half: \(connected)")
  }

  @Test func noSuchHost() throws {
    let pair = try Pair(seed: 1)
    let nowhere = SocketAddress.ip4(0x0A00_00FA, port: 1)
    pair.client.socket = pair.edge.connect(to: nowhere, pair.client)
    #expect(pair.network.run(atMost: .seconds(1)) { !pair.client.failures.isEmpty })
    #expect(pair.client.failures == [.connectFailed(nowhere, errno: ENETUNREACH)])
  }

  @Test func loopbackStaysAtHome() throws {
    let pair = try Pair(seed: 1)
    let home = SocketAddress.ip4(0x7F00_0001, port: 9)
    let host = Host { _, _ in Echo(pair.edge) }
    _ = try pair.edge.listen(at: home, backlog: 1, host)
    let (near, far) = (Witness(pair.edge), Witness(pair.centre))
    near.socket = pair.edge.connect(to: home, near)
    far.socket = pair.centre.connect(to: home, far)
    pair.network.run(for: .seconds(1))
    #expect(near.connected == 1 && host.accepted == 1)
    #expect(far.failures == [.connectFailed(home, errno: ECONNREFUSED)])
  }

  @Test func addressSharedByTwoLoops() throws {
    let pair = try Pair(seed: 4)
    let second = EventLoop(driver: SimulatedDriver(network: pair.network, host: "centre"))
    let host = Host { [unowned second] _, _ in Echo(second) }
    _ = try second.listen(at: .ip4(0, port: 15010), backlog: 1, host)
    #expect(throws: RingError.self) { try second.listen(at: .ip4(0, port: 15010), backlog: 1, host) }
    let clients = (0..<40).map { _ in
      let client = Witness(pair.edge)
      client.socket = pair.edge.connect(to: pair.address, client)
      return client
    }
    pair.network.run(for: .seconds(1))
    #expect(clients.allSatisfy { $0.connected == 1 })
    #expect(pair.greeted > 0 && host.accepted > 0 && pair.greeted + host.accepted == 40)
  }

  @Test func wakeAndWatch() throws {
    let pair = try Pair(seed: 1)
    var woken = 0
    pair.edge.onWake = { woken += 1 }
    pair.edge.waker()
    pair.edge.waker()
    pair.network.run(for: .seconds(1))
    #expect(woken == 1)
    final class Counter: DescriptorHandler {
      var count = 0
      func descriptorReadable(_ descriptor: Int32) { count += 1 }
    }
    let driver = SimulatedDriver(network: pair.network, host: "edge")
    let loop = EventLoop(driver: driver)
    let counter = Counter()
    loop.watch(descriptor: 5, counter)
    driver.makeReadable(5)
    pair.network.run(for: .seconds(1))
    driver.makeReadable(5)
    pair.network.run(for: .seconds(1))
    #expect(counter.count == 2)
    loop.unwatch(descriptor: 5)
    driver.makeReadable(5)
    pair.network.run(for: .seconds(1))
    #expect(counter.count == 2)
  }

  @Test func nothingLeftToDo() throws {
    let pair = try Pair(seed: 1)
    pair.network.run(for: .seconds(1))
    #expect(!pair.network.step())
    var fired = false
    pair.network.at(.seconds(5)) { fired = true }
    #expect(pair.network.step())
    #expect(fired)
    #expect(!pair.network.step())
  }
}
