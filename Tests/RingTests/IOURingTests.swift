// Goal: what only io_uring has: the probe and its explanations, scarce receive buffers, a submission queue
// smaller than its work. Method: real rings of tiny sizes; explanations from a table of errno values.

import Glibc
import Primitives
import Testing

@testable import Ring

@Suite struct IOURingTests {
  @Test func thisKernelIsGoodEnough() {
    let features = RingFeatures.probe()
    #expect(features.isUsable, "\(features.missing)")
    #expect(features.reason == nil)
  }

  @Test func probeLeavesNothingBehind() async {
    // In a process of its own, where no other test opens descriptors.
    await #expect(processExitsWith: .success) {
      _ = RingFeatures.probe()
      let before = dup(0)
      for _ in 0..<50 { _ = RingFeatures.probe() }
      _ = Glibc.close(before)
      let after = dup(0)
      precondition(after == before, "the probe keeps descriptors open")
    }
  }

  @Test func scarceBuffers() throws {
    let bench = try Bench(
      .ioURing, sizes: RingSizes(entries: 64, completions: 256, buffers: 2, bufferBytes: 64))
    let address = try bench.echoHost()
    let clients = (0..<30).map { _ in
      let client = Witness(bench.loop)
      client.socket = bench.loop.connect(to: address, client)
      return client
    }
    #expect(bench.run { clients.allSatisfy { $0.connected == 1 } })
    for (number, client) in clients.enumerated() { client.send(pattern(5000, seed: UInt64(number))) }
    #expect(bench.run(most: 100_000) { clients.allSatisfy { $0.received.count == 5000 } })
    for (number, client) in clients.enumerated() {
      #expect(client.received == pattern(5000, seed: UInt64(number)))
    }
    #expect(bench.loop.counters.bufferShortages > 0, "the test did not run out of buffers")
  }

  @Test func moreOperationsThanTheQueueHolds() throws {
    let bench = try Bench(
      .ioURing, sizes: RingSizes(entries: 4, completions: 16, buffers: 256, bufferBytes: 1024))
    let address = try bench.echoHost()
    let clients = (0..<100).map { _ in
      let client = Witness(bench.loop)
      client.socket = bench.loop.connect(to: address, client)
      return client
    }
    #expect(bench.run(most: 20_000) { clients.allSatisfy { $0.connected == 1 } })
    for client in clients { client.send("x".utf8) }
    #expect(bench.run(most: 20_000) { clients.allSatisfy { $0.received.count == 1 } })
    for client in clients { client.close() }
    #expect(bench.run(most: 20_000) { bench.loop.sockets.count == 0 })
  }

  @Test(arguments: [
    (ENOSYS, "--io epoll", Blame.kernel), (EPERM, "kernel.io_uring_disabled", .kernel),
    (ENOMEM, "LimitMEMLOCK", .kernel), (EMFILE, "LimitNOFILE", .kernel),
  ])
  func refusalsAreExplained(_ number: Int32, _ hint: String, _ blame: Blame) {
    let error = RingError.ringRefused(errno: number)
    #expect(error.description.contains(hint), "\(error)")
    #expect(error.what.contains(errnoName(number)))
    #expect(error.blame == blame)
    #expect(!error.why.isEmpty && !error.howToFix.isEmpty)
  }

  @Test func missingFeaturesAreExplained() {
    for feature in RingFeature.allCases {
      let missing = MissingFeature(feature: feature, errno: EINVAL)
      #expect(missing.description.contains(feature.sinceKernel))
      let features = RingFeatures(missing: [missing], refusal: nil, setupFlags: 0)
      #expect(features.isUsable == feature.isOptional)
      if !feature.isOptional {
        #expect(features.reason == .ringTooOld(missing: [missing]))
        #expect(features.reason?.howToFix.contains("6.1") == true)
      }
    }
    let locked = MissingFeature(feature: .bufferRing, errno: ENOMEM)
    #expect(locked.howToFix.contains("LimitMEMLOCK"))
  }

  @Test func tokensKeepTheirParts() {
    for kind in [OperationToken.Kind.accept, .watch, .connect, .receive, .send, .wake] {
      for (slot, generation) in [(0, 1), (UInt32.max, OperationToken.generationMask), (77, 12_345)]
        as [(UInt32, UInt32)]
      {
        let token = OperationToken(bits: OperationToken(kind, slot: slot, generation: generation).bits)
        #expect(token.kind == kind && token.slot == slot && token.generation == generation)
      }
    }
    #expect(OperationToken(bits: .max).kind == .none, "an unknown kind is nobody's")
  }
}
