// Goal: listening sockets: shared by loops, refused, abandoned, and a process that has run out of
// descriptors. Method: real sockets on loopback; running out of descriptors happens in a child process,
// because the limit is the process's.

import Glibc
import Primitives
import Testing

@testable import Ring

@Suite struct ListenerTests {
  @Test(arguments: Stage.kernels)
  func sharedByTwoLoops(_ stage: Stage) throws {
    let (first, second) = (try Bench(stage), try Bench(stage))
    let descriptor = try bindListener(first.anyAddress)
    var accepted = [0, 0]
    var listeners: [ListenerID] = []
    for (index, bench) in [first, second].enumerated() {
      let host = Host { _, _ in
        accepted[index] += 1
        return Echo(bench.loop)
      }
      listeners.append(try bench.loop.listen(descriptor: dup(descriptor), host))
    }
    _ = Glibc.close(descriptor)
    let address = try #require(first.loop.boundAddress(listeners[0]))
    #expect(second.loop.boundAddress(listeners[1]) == address)
    let clients = (0..<50).map { _ in
      let client = Witness(first.loop)
      client.onEvent = { client, socket in
        if client.connected == 1, client.sent == 0, client.received.isEmpty {
          client.onEvent = { _, _ in }
          client.loop.send(socket, buffer("ping".utf8))
        }
      }
      client.socket = first.loop.connect(to: address, client)
      return client
    }
    let finished = first.run {
      second.loop.turn(waitingAtMost: .zero)
      return clients.allSatisfy { $0.received.count == 4 }
    }
    #expect(finished)
    #expect(accepted.reduce(0, +) == 50)
    // One loop stops; the other takes all.
    first.loop.closeListener(listeners[0])
    first.settle()
    let late = Witness(first.loop)
    late.socket = first.loop.connect(to: address, late)
    let before = accepted[1]
    let taken = first.run {
      second.loop.turn(waitingAtMost: .zero)
      return accepted[1] == before + 1
    }
    #expect(taken)
  }

  @Test func theKernelLooksAfterSilentPeers() throws {
    let bench = try Bench(.epoll)
    let descriptor = try bindListener(bench.anyAddress)
    defer { _ = Glibc.close(descriptor) }
    try KernelSockets.prepareListener(descriptor, nonBlocking: false)
    let address = try #require(KernelSockets.localAddress(of: descriptor))
    let dialled = try KernelSockets.stream(towards: address, nonBlocking: false)
    defer { _ = Glibc.close(dialled) }
    let memory = try #require(SocketAddressMemory(address))
    #expect(unsafe connect(dialled, memory.pointer, memory.length) == 0)
    let accepted = accept(descriptor, nil, nil)
    defer { _ = Glibc.close(accepted) }
    for end in [dialled, accepted] {
      #expect(option(SO_KEEPALIVE, at: SOL_SOCKET, of: end) == 1)
      #expect(option(TCP_KEEPIDLE, at: Int32(IPPROTO_TCP), of: end) == KernelSockets.probeAfter)
      #expect(option(TCP_KEEPINTVL, at: Int32(IPPROTO_TCP), of: end) == KernelSockets.probeInterval)
      #expect(option(TCP_KEEPCNT, at: Int32(IPPROTO_TCP), of: end) == KernelSockets.probesMost)
      #expect(option(TCP_NODELAY, at: Int32(IPPROTO_TCP), of: end) == 1)
    }
  }

  private func option(_ option: Int32, at level: Int32, of descriptor: Int32) -> Int32 {
    var value: Int32 = -1
    var length = socklen_t(MemoryLayout<Int32>.size)
    #expect(unsafe getsockopt(descriptor, level, option, &value, &length) == 0)
    return value
  }

  @Test func addressInUse() throws {
    let bench = try Bench(.epoll)
    let listener = try bench.loop.listen(at: bench.anyAddress, backlog: 1, Host { _, _ in nil })
    let address = try #require(bench.loop.boundAddress(listener))
    let error = #expect(throws: RingError.self) {
      try bench.loop.listen(at: address, backlog: 1, Host { _, _ in nil })
    }
    #expect(error == .cannotListen(address, errno: EADDRINUSE))
    #expect(error?.description.contains("Another process uses this address") == true)
  }

  @Test(arguments: Stage.kernels)
  func descriptorThatDoesNotListen(_ stage: Stage) throws {
    let bench = try Bench(stage)
    let plain = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { _ = Glibc.close(plain) }
    #expect(throws: RingError.notListening(descriptor: plain, errno: EINVAL)) {
      try bench.loop.listen(descriptor: plain, Host { _, _ in nil })
    }
    #expect(throws: RingError.self) { try bench.loop.listen(descriptor: -1, Host { _, _ in nil }) }
  }

  @Test func unixPathOfADeadProcessIsTakenOver() throws {
    let path = "/tmp/meshrelay-ring-abandoned-\(getpid()).sock"
    defer { _ = unsafe unlink(path) }
    let address = SocketAddress.unix(path: path)
    let first = try bindListener(address)
    #expect(throws: RingError.cannotListen(address, errno: EADDRINUSE)) { try bindListener(address) }
    _ = Glibc.close(first)
    let second = try bindListener(address)
    _ = Glibc.close(second)
  }

  @Test func closeListenerTwice() throws {
    for stage in Stage.allCases {
      let bench = try Bench(stage)
      let listener = try bench.loop.listen(at: bench.anyAddress, backlog: 1, Host { _, _ in nil })
      bench.loop.closeListener(listener)
      bench.loop.closeListener(listener)
      bench.settle()
      bench.loop.closeListener(listener)
      #expect(bench.loop.boundAddress(listener) == nil)
    }
  }

  @Test func outOfDescriptorsIOURing() async {
    await #expect(processExitsWith: .success) { try ListenerTests.runOutOfDescriptors(.ioURing) }
  }

  @Test func outOfDescriptorsEpoll() async {
    await #expect(processExitsWith: .success) { try ListenerTests.runOutOfDescriptors(.epoll) }
  }

  /// Accepting pauses without spinning, connecting fails with a reason, and both go on when there is room
  /// again.
  private static func runOutOfDescriptors(_ stage: Stage) throws {
    let bench = try Bench(stage)
    let host = Host { _, _ in Echo(bench.loop) }
    let address = try bench.address(of: host)
    let client = Witness(bench.loop)
    client.socket = bench.loop.connect(to: address, client)
    // All numbers are taken but the client's own: nothing can be accepted.
    var limit = rlimit(rlim_cur: 64, rlim_max: 64)
    precondition(
      unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0, "setrlimit failed")
    // The test runner's own descriptors come and go for a moment: numbers are taken until none has come free
    // for a while.
    var taken: [Int32] = []
    var refusals = 0
    while refusals < 20 {
      let descriptor = unsafe open("/dev/null", O_RDONLY)
      if descriptor >= 0 {
        taken.append(descriptor)
        refusals = 0
      } else {
        refusals += 1
        usleep(5000)
      }
    }
    precondition(bench.run { bench.loop.counters.acceptPauses >= 1 }, "accepting never paused")
    let turns = bench.loop.counters.turns
    for _ in 0..<10 { bench.loop.turn(waitingAtMost: .milliseconds(1)) }
    precondition(bench.loop.counters.turns == turns + 10, "a turn went missing")
    precondition(bench.loop.counters.acceptPauses <= 2, "accepting spins without descriptors")
    precondition(host.accepted == 0, "accepted without a descriptor")
    let refused = Witness(bench.loop)
    refused.socket = bench.loop.connect(to: address, refused)
    precondition(bench.run { refused.failures.count == 1 }, "a connect without a descriptor says nothing")
    precondition(refused.failures[0].number == EMFILE, "a connect without a descriptor has another reason")
    for descriptor in taken { _ = Glibc.close(descriptor) }
    precondition(bench.run { host.accepted == 1 }, "accepting did not go on")
  }
}
