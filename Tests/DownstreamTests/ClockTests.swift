// Goal: a wall clock that jumps ends streams only once the jump has lasted for a minute, and one that is set back
// again ends none. Method: somebody sets the clock of the simulated hosts while a client with a day to live streams.

import GRPC
import Primitives
import Ring
import TestCertificates
import Testing

@Suite struct ClockTests {
  private func stage() throws -> (Stage, StagedClient) {
    let stage = try Stage(try rules(["a": "foo"]))
    stage.publish([try resource("foo", "x")])
    let a = try stage.client("a", living: 86_400)
    #expect(stage.run { a.held == ["foo/x"] })
    return (stage, a)
  }

  @Test func aJumpThatLastsIsBelievedAfterAMinute() throws {
    let (stage, a) = try stage()
    stage.network.run(for: .seconds(10))
    stage.network.wallClockShift = .seconds(2 * 86_400)
    stage.network.run(for: .seconds(55))
    #expect(a.status == nil)
    #expect(stage.run(atMost: .seconds(15)) { a.status != nil })
    #expect(a.status?.code == .unauthenticated)
  }

  @Test func aJumpThatIsTakenBackEndsNobody() throws {
    let (stage, a) = try stage()
    for _ in 0..<10 {
      stage.network.wallClockShift = .seconds(2 * 86_400)
      stage.network.run(for: .seconds(50))
      stage.network.wallClockShift = .zero
      stage.network.run(for: .seconds(10))
    }
    #expect(a.status == nil)
    // And whoever comes meanwhile is judged by the same time.
    stage.network.wallClockShift = .seconds(2 * 86_400)
    stage.network.run(for: .seconds(5))
    let late = try stage.client("a", living: 86_400)
    #expect(stage.run(atMost: .seconds(10)) { late.held == ["foo/x"] })
  }
}
