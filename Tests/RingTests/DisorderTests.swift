// Goal: whatever order calls and events come in, what arrives is a prefix of what was sent, every socket
// ends exactly once, and nothing of the loop is left over. Method: twenty pairs; between turns a seeded
// generator pauses, resumes, sends, half-closes and closes at random.

import Primitives
import Testing

@testable import Ring

@Suite struct DisorderTests {
  /// One end of a pair that sends a known stream piece by piece.
  private final class End {
    let witness: Witness
    /// A run of `bytes` of its own.
    let stream: ArraySlice<UInt8>
    var offered = 0
    var isFinished = false
    var isSending: Bool { offered > 0 && witness.sent < sends }
    private var sends = 0

    init(_ witness: Witness, seed: UInt64) {
      self.witness = witness
      stream = End.bytes.dropFirst(Int(seed % 1000) * 97).prefix(300_000)
    }

    private static let bytes = pattern(400_000)

    func sendSome(_ count: Int) {
      guard !isSending, !isFinished, witness.failures.isEmpty, witness.closed == 0 else { return }
      let piece = stream.dropFirst(offered).prefix(count)
      guard !piece.isEmpty else { return }
      offered += piece.count
      sends += 1
      witness.send(piece)
    }

    func finish() {
      guard let socket = witness.socket else { return }
      isFinished = true
      witness.loop.finishSending(socket)
    }
  }

  @Test(arguments: Stage.allCases, [11, 12] as [UInt64])
  func anyOrder(_ stage: Stage, _ seed: UInt64) throws {
    let bench = try Bench(stage)
    var generator = SeededGenerator(seed: seed)
    let pairs = try (0..<20).map { number in
      let (client, server) = try bench.pair()
      return (
        End(client, seed: seed &+ UInt64(2 * number)), End(server, seed: seed &+ UInt64(2 * number + 1))
      )
    }
    for _ in 0..<1000 {
      guard let pair = pairs.randomElement(using: &generator) else { continue }
      act(on: Bool.random(using: &generator) ? pair.0 : pair.1, &generator)
      if Int.random(in: 0..<3, using: &generator) == 0 { bench.run(most: 1) { false } }
    }
    for (client, server) in pairs {
      for end in [client, server] {
        if let socket = end.witness.socket { bench.loop.resumeReceiving(socket) }
      }
    }
    bench.settle()
    for (client, server) in pairs {
      client.witness.close()
      server.witness.close()
    }
    #expect(bench.run { bench.loop.sockets.count == 0 }, "seed \(seed)")
    for (client, server) in pairs {
      #expect(client.witness.closed == 1 && server.witness.closed == 1, "seed \(seed)")
      check(client, heardBy: server, seed)
      check(server, heardBy: client, seed)
    }
  }

  private func act(on end: End, _ generator: inout SeededGenerator) {
    guard let socket = end.witness.socket else { return }
    switch Int.random(in: 0..<100, using: &generator) {
    case 0..<50: end.sendSome(Int.random(in: 1...60_000, using: &generator))
    case 50..<72: end.witness.loop.pauseReceiving(socket)
    case 72..<97: end.witness.loop.resumeReceiving(socket)
    case 97..<98: end.finish()
    default: end.witness.close()
    }
  }

  private func check(_ sender: End, heardBy receiver: End, _ seed: UInt64) {
    let heard = receiver.witness.received
    #expect(heard.count <= sender.offered, "seed \(seed)")
    #expect(heard == Array(sender.stream.prefix(heard.count)), "seed \(seed)")
    #expect(receiver.witness.ends <= 1 && receiver.witness.failures.count <= 1, "seed \(seed)")
  }
}
