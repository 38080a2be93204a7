// Goal: the promises of the whole program hold through faults: nothing hidden is shown, nothing is partial,
// nothing goes back, everybody converges, everything is closed. Method: whole meshes on a virtual clock, a
// seeded storm of faults and changes, checkers on every answer that a client gets.
//
// MESHRELAY_SEED=42 replays one seed with its journal; MESHRELAY_SEEDS=200 runs that many fresh ones.

import Foundation
import Simulator
import Testing

@Suite(.serialized) struct SimulationTests {
  static let storm: Duration = .seconds(60)

  /// The seeds of this run: one, many, or the few that every run repeats.
  static var seeds: [UInt64] {
    let environment = ProcessInfo.processInfo.environment
    if let seed = environment["MESHRELAY_SEED"].flatMap({ UInt64($0) }) { return [seed] }
    if let count = environment["MESHRELAY_SEEDS"].flatMap({ Int($0) }) {
      return (0..<count).map { _ in UInt64.random(in: 0..<1 << 32) }
    }
    // The last one found that a sequence must be believed for one type alone (decision 006).
    return [1, 2, 3, 4, 5, 1_077_753_925]
  }

  static var isReplay: Bool { ProcessInfo.processInfo.environment["MESHRELAY_SEED"]?.isEmpty == false }

  @Test(arguments: seeds) func promisesHoldThroughTheStorm(_ seed: UInt64) { storm(seed, .modern) }

  /// Every way to follow a type at once: whatever happens, all of them come to hold the view, by content hash.
  @Test(arguments: seeds.prefix(3)) func everyDialectTellsOneStory(_ seed: UInt64) {
    storm(seed, .everyDialect)
  }

  /// Five tiers, each of which can fail.
  @Test(arguments: seeds.prefix(2)) func promisesHoldThroughFiveTiers(_ seed: UInt64) { storm(seed, .deep) }

  private func storm(_ seed: UInt64, _ cast: SimulatedWorld.Cast) {
    let world = SimulatedWorld(seed: seed, cast: cast)
    let isSound = world.run(storm: SimulationTests.storm)
    let shown = SimulationTests.isReplay ? world.journal : world.journal.suffix(60)
    if SimulationTests.isReplay || !isSound { print(shown.joined(separator: "\n")) }
    #expect(
      isSound,
      """
      seed \(seed): \(world.findings.joined(separator: "; "))
      replay: make sim SEED=\(seed)
      """)
    #expect(world.answers > 50, "a world in which nothing is served proves nothing")
    #expect(world.auditRecords > 500, "a world in which nothing is recorded proves nothing")
  }

  @Test(arguments: seeds.prefix(3)) func gatesHoldAWholeTreeAndFreeIt(_ seed: UInt64) {
    let world = SimulatedWorld(seed: seed, braked: true)
    let isSound = world.runGates()
    if SimulationTests.isReplay || !isSound { print(world.journal.suffix(200).joined(separator: "\n")) }
    #expect(isSound, "seed \(seed): \(world.findings.joined(separator: "; "))")
  }

  @Test func equalSeedsGiveEqualHistories() {
    let fingerprints = (0..<2).map { _ in
      let world = SimulatedWorld(seed: 99)
      _ = world.run(storm: .seconds(15))
      return world.fingerprint
    }
    #expect(fingerprints[0] == fingerprints[1])
  }
}
