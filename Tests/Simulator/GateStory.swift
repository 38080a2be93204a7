// What gates do to a whole tree: a mass removal is held at the origin and nowhere else, one release there frees every
// tier, grants that end are taken back meanwhile, and a rollback reaches everybody.
//
// The same mesh and the same checkers as in a storm; the story is told in order, and the generator decides what
// goes, who crashes and how long things take.

import Admin
import Foundation
import Primitives
import Ring
import Snapshots
import Tier

extension SimulatedWorld {
  /// True when no promise was broken.
  public func runGates() -> Bool {
    for client in clients { client.manners = .kind }
    begin()
    settle(at: truth.newest, "at first")
    let before = truth.newest
    truth.shrink(&network.generator, at: network.wallClock)
    relay("origin-1").noticeFolder()
    stay(at: before, "while the origin holds it", hearing: false)
    crashSomebodyBelow()
    settle(at: before, "after a crash below the brake")
    narrow()
    settle(at: before, "under a narrowed policy")
    order(.release(cluster: "region", type: nil))
    settle(at: truth.newest, "after one release at the origin")
    for relay in relays { expectNoGates(relay) }
    takeBack(to: before)
    return isSound
  }

  private func takeBack(to before: Truth.State) {
    guard isSound, let version = versionBefore() else { return }
    allowStepBack()
    order(.rollback(version: version, cluster: nil))
    settle(at: before, "after a rollback")
    order(.thaw(cluster: nil), held: true)
    stay(at: before, "after a thaw that the brake judges", hearing: true)
    allowStepBack()
    order(.release(cluster: "region", type: nil))
    settle(at: truth.newest, "at last")
  }

  private func crashSomebodyBelow() {
    let below = relays.filter { $0.cluster != "origin" }
    guard let victim = below.randomElement(using: &network.generator) else { return }
    note("\(victim.host) crashes")
    victim.crash(.process)
    pass(.seconds(Int64.random(in: 1...10, using: &network.generator)))
    start(victim)
  }

  private func narrow() {
    for relay in relays where relay.cluster == "edge" { relay.adopt(Grants.edge[1]) }
  }

  // MARK: looking

  /// Within the bound everybody has that state, as policy grants it.
  private func settle(at state: Truth.State, _ when: String) {
    guard isSound else { return }
    note("expected " + when)
    let deadline = network.now + bound
    var open = ["not looked at"]
    while isSound, !open.isEmpty, network.now < deadline {
      pass(.milliseconds(500))
      open = differences(from: state)
    }
    for finding in open where isSound { found(when + ": " + finding) }
  }

  /// For a while everybody keeps that state.
  private func stay(at state: Truth.State, _ when: String, hearing: Bool) {
    guard isSound else { return }
    let heard = answers
    pass(.seconds(40))
    for finding in differences(from: state) { found(when + ": " + finding) }
    if !hearing, answers != heard, clients.allSatisfy({ $0.manners.refusals == 0 }) {
      note("\(answers - heard) answers " + when)
    }
  }

  private func differences(from state: Truth.State) -> [String] {
    ConvergenceChecker.findings(clients, state) { [unowned self] host in relay(host).currentGrants }
  }

  // MARK: asking the origin

  private func order(_ command: AdminCommand, held: Bool = false) {
    guard isSound else { return }
    let reply = ask(.command(command), relay("origin-1"))
    note("an operator says \(command): \(reply)")
    if !reply.contains("\"command\"") { found("refused: \(command): \(reply)") }
    if reply.contains("\"held\":[{") != held { found("held or not: \(reply)") }
  }

  private func expectNoGates(_ relay: SimulatedRelay) {
    guard isSound else { return }
    let status = ask(.status, relay)
    if !status.contains("\"gates\":[]") { found("\(relay.host) has gates of its own: \(status)") }
  }

  /// The version that was served before the newest one.
  private func versionBefore() -> String? {
    let parts = ask(.history, relay("origin-1")).components(separatedBy: "\"version\":\"")
    guard parts.count > 2 else {
      found("the origin keeps no history")
      return nil
    }
    return String(parts[2].prefix(32))
  }

  private func ask(_ request: AdminRequest, _ relay: SimulatedRelay) -> String {
    let answer = Published<AdminReply?>(nil)
    relay.life?.control.ask(request) { answer.publish($0) }
    pass(.seconds(5)) { answer.value != nil }
    return answer.value.map { String(decoding: $0.body, as: UTF8.self) } ?? "no answer"
  }
}
