// Goal: a wall clock that jumps takes an upstream away only once the jump has lasted for a minute.
// Method: somebody sets the clock of the simulated hosts while a subscription follows an upstream with a day to live.

import Primitives
import Ring
import Testing

@Suite struct ClockTests {
  @Test func aJumpIsBelievedAfterAMinute() throws {
    let stage = Stage()
    let central = try stage.upstream("central", living: 86_400)
    central.serve([gateway: [], sidecar: []])
    try stage.subscribe(["central"])
    #expect(stage.run { stage.isFollowing })
    stage.network.run(for: .seconds(10))
    stage.network.wallClockShift = .seconds(2 * 86_400)
    stage.network.run(for: .seconds(55))
    #expect(stage.isFollowing)
    #expect(stage.run(atMost: .seconds(15)) { !stage.isFollowing })
  }
}
