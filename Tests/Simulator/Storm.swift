// What goes wrong, and what people do meanwhile: drawn one strike after the other from the world's generator.

import Primitives
import Ring

/// The faults and changes of one run.
struct Storm {
  private unowned let world: SimulatedWorld
  /// Links that are cut now.
  private var cuts: [Link] = []
  /// Links under conditions that are not the best.
  private var bad: [Link] = []

  private struct Link: Equatable {
    let first: String
    let second: String
    /// The client at one of its ends, if there is one.
    var client: String?
  }

  init(_ world: SimulatedWorld) { self.world = world }

  private func draw(_ range: Range<Int>) -> Int { Int.random(in: range, using: &world.network.generator) }

  /// Seconds.
  private static let originAheadMost = 60

  /// One thing happens.
  mutating func strike() {
    for link in cuts + bad { noteTrouble(link) }
    switch draw(0..<22) {
    case 0..<7: edit()
    case 7..<9: cut()
    case 9..<12: heal()
    case 12..<14: changeConditions()
    case 14: crash()
    case 15..<17: changePolicy()
    case 17..<19: hangUp()
    case 19: breakDisk()
    default: jumpClock()
    }
  }

  /// The disk of a relay: nothing is delivered from there while it cannot be recorded, nothing is saved, and grants end
  /// all the same.
  private func breakDisk() {
    let relay = world.relays[draw(0..<world.relays.count)]
    let pause = Duration.milliseconds(Int64(draw(1000..<8000)))
    world.note("\(relay.host): the disk is broken for \(pause)")
    relay.isDiskBroken = true
    world.network.at(pause) { relay.isDiskBroken = false }
  }

  /// Somebody sets the clock of a relay, or of all. That of the origin goes ahead by no more than what everybody has
  /// caught up with in time: what is published then stays the newest until the clock is there.
  private func jumpClock() {
    let relay = world.relays[draw(0..<world.relays.count)]
    let most = relay.upstreams.isEmpty ? Storm.originAheadMost : 240
    let shift = Duration.seconds(draw(0..<most + 1500) - 1500)
    world.note("\(relay.host): the clock is ahead by \(shift)")
    world.network.setWallClock(of: relay.host, aheadBy: shift)
  }

  /// Everything is repaired; what was crashed starts.
  mutating func end() {
    while !cuts.isEmpty { heal() }
    for relay in world.relays {
      relay.isDiskBroken = false
      world.network.setWallClock(of: relay.host, aheadBy: .zero)
    }
    for link in links { world.network.setConditions(LinkConditions(), between: link.first, and: link.second) }
    for relay in world.relays { world.start(relay) }
    // The last policy gives both tenants something, so that there is something to converge on.
    for relay in world.relays where relay.cluster == "edge" && relay.currentGrants.name == "refusing" {
      relay.adopt(.usual)
    }
  }

  private var links: [Link] {
    var links: [Link] = []
    for relay in world.relays {
      for upstream in relay.upstreams { links.append(Link(first: relay.host, second: upstream)) }
    }
    for client in world.clients {
      for edge in client.edges {
        links.append(Link(first: client.host, second: edge, client: client.host))
      }
    }
    return links
  }

  /// One change more, once the clocks are past what was published ahead of them: an origin that crashed before that was
  /// on its disk may be behind it until then.
  func endClocks() {
    world.pass(.seconds(Storm.originAheadMost + 1))
    edit()
  }

  private func edit() {
    let done = world.truth.change(&world.network.generator, at: world.network.wallClock)
    world.note("truth \(world.truth.states.count - 1): \(done)")
    for relay in world.relays { relay.noticeFolder() }
  }

  private mutating func cut() {
    let link = links[draw(0..<links.count)]
    guard !cuts.contains(link) else { return }
    cuts.append(link)
    world.note("cut \(link.first) \(link.second)")
    world.network.cut(link.first, link.second)
    noteTrouble(link)
  }

  private mutating func heal() {
    guard !cuts.isEmpty else { return }
    let link = cuts.remove(at: draw(0..<cuts.count))
    world.note("heal \(link.first) \(link.second)")
    world.network.heal(link.first, link.second)
    noteTrouble(link)
  }

  private mutating func changeConditions() {
    let link = links[draw(0..<links.count)]
    var conditions = LinkConditions()
    switch draw(0..<4) {
    case 0: break
    case 1: conditions = .harsh
    case 2:
      // A slow reader: a small window, and long waits for room.
      conditions.windowBytes = 2048
      conditions.delay = .milliseconds(150)
    default:
      conditions = .harsh
      conditions.refusedConnects = 0.5
    }
    world.note("link \(link.first) \(link.second) becomes \(conditions)")
    world.network.setConditions(conditions, between: link.first, and: link.second)
    bad.removeAll { $0 == link }
    if conditions != LinkConditions() { bad.append(link) }
    noteTrouble(link)
  }

  /// A cut or slow link excuses a client while it lasts, and until it had time to recover.
  private func noteTrouble(_ link: Link) {
    guard let client = link.client else { return }
    world.grantEnds.noteTrouble(client, at: world.network.now)
  }

  private func crash() {
    let relay = world.relays[draw(0..<world.relays.count)]
    guard relay.isUp else { return }
    let manner: SimulatedCrash = draw(0..<2) == 0 ? .process : .power
    let pause = Duration.milliseconds(Int64(draw(100..<12_000)))
    world.note("\(relay.host) crashes (\(manner)) for \(pause)")
    relay.crash(manner)
    // Not that of the origin: who loses its sequence and has a wrong clock is behind until an operator says otherwise.
    if draw(0..<4) == 0, !relay.upstreams.isEmpty, relay.damageState() {
      world.note("\(relay.host): its store is damaged")
    }
    world.network.at(pause) { [weak world] in world?.start(relay) }
  }

  private func changePolicy() {
    let edges = world.relays.filter { $0.cluster == "edge" }
    let edge = edges[draw(0..<edges.count)]
    let next = Grants.edge[draw(0..<Grants.edge.count)]
    guard next != edge.currentGrants else { return }
    let previous = edge.currentGrants
    world.note("\(edge.host) adopts the policy \(next.name)")
    edge.adopt(next)
    guard edge.isUp else { return }
    // Who had no place before is held for seconds before it is told so; who still talks to a process that
    // died without a word does not hear of it.
    let streams = world.clients.filter {
      world.isServed($0, by: edge) && previous.visible(to: $0.cluster) != nil
    }.map { ($0, $0.stream) }
    let (lives, policies) = (edge.lives, edge.grants.count)
    world.network.at(GrantEndChecker.bound) { [weak world] in
      guard let world, edge.isUp, edge.lives == lives, edge.grants.count == policies else { return }
      for (client, stream) in streams where client.edge == edge.host {
        let findings = world.grantEnds.findings(
          client, stream: stream, next, world.truth, now: world.network.now)
        for finding in findings { world.found(finding) }
      }
    }
  }

  private func hangUp() {
    let client = world.clients[draw(0..<world.clients.count)]
    world.note("\(client.host) hangs up")
    client.reconnect()
  }
}
