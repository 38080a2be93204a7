// A network of hosts inside one thread, on a virtual clock, with a seed for every random choice: equal
// seeds and equal calls give equal histories, to the nanosecond.
//
// Stands where kernels and cables stand. Event loops run on it unchanged, through `SimulatedDriver`.
// Nothing moves but by `step()`: it performs the earliest of all arrivals, timers and planned actions.
// Streams behave as TCP does: in order, nothing lost, a cut link stalls bytes until it heals, a dead end
// answers with a reset.

public import Primitives

/// The hosts, the links between them, and the clock. Belongs to one thread.
public final class SimulatedNetwork {
  /// Virtual monotonic time.
  public private(set) var now = Instant(nanoseconds: 1_000_000_000)
  /// Virtual wall-clock time.
  public var wallClock: Timestamp {
    let passed = now.nanoseconds - 1_000_000_000
    return Timestamp(
      seconds: start.seconds + wallClockShift.components.seconds + passed / 1_000_000_000,
      nanoseconds: Int32(passed % 1_000_000_000))
  }
  /// What somebody has set the wall clock of all hosts ahead by, in whole seconds; negative: back.
  public var wallClockShift: Duration = .zero
  /// By host, beside that.
  private var hostShifts: [String: Duration] = [:]
  /// A digest of everything that happened so far, equal for equal histories.
  public private(set) var fingerprint: UInt64 = 0xCBF2_9CE4_8422_2325
  /// For links without conditions of their own.
  public var conditions = LinkConditions()
  /// The source of every random choice; tests may draw from it too.
  public var generator: SeededGenerator

  /// What the wall clock of one host says.
  public func wallClock(of host: String) -> Timestamp {
    guard let shift = hostShifts[host] else { return wallClock }
    return Timestamp(milliseconds: wallClock.milliseconds + shift.inNanoseconds / 1_000_000)
  }

  /// Sets the wall clock of one host ahead of what it should be by this much; negative: back.
  public func setWallClock(of host: String, aheadBy shift: Duration) {
    hostShifts[host] = shift == .zero ? nil : shift
  }

  private let start: Timestamp
  private var events = TimerHeap<Event>()
  private var hosts: [Host] = []
  private var links: [Link: LinkConditions] = [:]
  private var cuts: Set<Link> = []
  /// Arrivals that wait for their link to heal, in order.
  private var stalled: [(link: Link, event: Event)] = []
  private var nextDescriptor: Int32 = 1_000

  private struct Link: Hashable {
    let from: String
    let to: String
  }

  private struct Host {
    let name: String
    let address: UInt32
    var isUp = true
    var nextPort: UInt16 = 32_768
    var drivers: [SimulatedDriver] = []
    var listeners: [SimulatedListener] = []
    /// Sockets that a power cut took.
    var vanished: [SimulatedSocket] = []
  }

  private enum Event {
    /// The first payload on the way to a socket arrives.
    case arrival(SimulatedSocket)
    /// A connect reaches the host it is meant for.
    case request(SimulatedSocket, to: SocketAddress)
    /// The answer to a connect reaches the host that asked; 0 or an errno.
    case answer(SimulatedSocket, errno: Int32)
    case turn(SimulatedDriver)
    case action(() -> Void)
  }

  /// `start` is the wall clock's first moment: 2026-01-01T00:00:00Z when not given.
  public init(seed: UInt64, start: Timestamp = Timestamp(seconds: 1_767_225_600)) {
    generator = SeededGenerator(seed: seed)
    self.start = start
  }

  // MARK: hosts and links

  /// The address of `host`, which comes into being with its first mention: 10.0.0.1, 10.0.0.2, …
  public func address(of host: String, port: UInt16) -> SocketAddress {
    .ip4(hosts[index(of: host)].address, port: port)
  }

  /// Conditions of both directions between two hosts.
  public func setConditions(_ conditions: LinkConditions, between first: String, and second: String) {
    links[Link(from: first, to: second)] = conditions
    links[Link(from: second, to: first)] = conditions
  }

  /// Nothing arrives between the two until `heal`; nothing is lost either.
  public func cut(_ first: String, _ second: String) {
    cuts.insert(Link(from: first, to: second))
    cuts.insert(Link(from: second, to: first))
  }

  /// What was stalled arrives after the link's delay.
  public func heal(_ first: String, _ second: String) {
    for link in [Link(from: first, to: second), Link(from: second, to: first)] where cuts.remove(link) != nil
    {
      let released = stalled.filter { $0.link == link }
      stalled.removeAll { $0.link == link }
      for item in released { _ = events.arm(at: now + conditions(link).delay, item.event) }
    }
  }

  /// Stops every loop of `host` for good, at once. A new life begins with new drivers, after `restart` if
  /// power was cut.
  public func crash(_ host: String, _ manner: SimulatedCrash = .process) {
    let index = index(of: host)
    let drivers = hosts[index].drivers
    hosts[index].drivers = []
    for listener in hosts[index].listeners {
      for socket in listener.waiting { vanish(socket, manner) }
    }
    hosts[index].listeners = []
    for driver in drivers {
      for socket in driver.crash() { vanish(socket, manner) }
    }
    if manner == .power { hosts[index].isUp = false }
    note(1, UInt64(index), 0)
  }

  /// Ends a power cut.
  public func restart(_ host: String) {
    let index = index(of: host)
    hosts[index].isUp = true
    for socket in hosts[index].vanished where socket.owesReset { answerWithReset(socket) }
  }

  // MARK: time

  /// Performs the earliest thing that is due. False when nothing will ever happen again.
  @discardableResult
  public func step() -> Bool { step(notAfter: .distantFuture) }

  private func step(notAfter limit: Instant) -> Bool {
    let event = events.nextDeadline() ?? .distantFuture
    var (loopTime, runnable): (Instant, SimulatedDriver?) = (.distantFuture, nil)
    for host in hosts {
      for driver in host.drivers {
        guard let time = driver.nextDeadline, time < loopTime else { continue }
        (loopTime, runnable) = (time, driver)
      }
    }
    guard min(event, loopTime) <= limit else { return false }
    if let runnable, loopTime < event {
      advance(to: loopTime)
      turn(runnable)
      return true
    }
    guard let (_, due) = events.popDue(event) else { return false }
    advance(to: event)
    perform(due)
    return true
  }

  /// Steps until `condition` or until `limit` of virtual time has passed; true when it came true.
  @discardableResult
  public func run(atMost limit: Duration, until condition: () -> Bool) -> Bool {
    let deadline = now + limit
    while !condition() {
      guard step(notAfter: deadline) else {
        advance(to: deadline)
        return condition()
      }
    }
    return true
  }

  /// Steps through `duration` of virtual time.
  public func run(for duration: Duration) { run(atMost: duration) { false } }

  /// Performs `action` after `delay`: a test's own plan.
  public func at(_ delay: Duration, _ action: @escaping () -> Void) {
    _ = events.arm(at: now + delay, .action(action))
  }

  private func advance(to time: Instant) {
    guard time > now else { return }
    now = time
    for host in hosts { for driver in host.drivers { driver.clockMoved(now) } }
  }

  private func turn(_ driver: SimulatedDriver) {
    note(2, UInt64(index(of: driver.host)), 0)
    driver.turn()
  }

  private func perform(_ event: Event) {
    switch event {
    case .turn(let driver): turn(driver)
    case .action(let action): action()
    case .arrival(let socket):
      guard let from = socket.peer?.driver.host, !isStalled(from, socket.driver.host, event) else { return }
      arrive(socket)
    case .request(let client, let target):
      if let host = host(for: target, from: client.driver.host), isStalled(client.driver.host, host, event) {
        return
      }
      request(client, target)
    case .answer(let client, let errno):
      if let from = host(for: client.remote, from: client.driver.host),
        isStalled(from, client.driver.host, event)
      {
        return
      }
      client.driver.connectAnswered(client, errno)
    }
  }

  private func isStalled(_ from: String, _ to: String, _ event: Event) -> Bool {
    let link = Link(from: from, to: to)
    guard cuts.contains(link) else { return false }
    stalled.append((link, event))
    return true
  }

  // MARK: for drivers

  func register(_ driver: SimulatedDriver) {
    let index = index(of: driver.host)
    precondition(hosts[index].isUp, "a driver on a host without power: call restart first")
    hosts[index].drivers.append(driver)
  }

  func remove(_ driver: SimulatedDriver) {
    hosts[index(of: driver.host)].drivers.removeAll { $0 === driver }
    hosts[index(of: driver.host)].listeners.removeAll { $0.driver === driver }
  }

  /// Has the driver's loop take a turn at the present moment, after what is due already.
  func scheduleTurn(_ driver: SimulatedDriver) { _ = events.arm(at: now, .turn(driver)) }

  func takeDescriptor() -> Int32 {
    nextDescriptor += 1
    return nextDescriptor
  }

  /// An unused port of `host`.
  func takePort(_ host: String) -> UInt16 {
    let index = index(of: host)
    hosts[index].nextPort = hosts[index].nextPort == .max ? 32_768 : hosts[index].nextPort + 1
    return hosts[index].nextPort
  }

  /// False when the loop listens there already. Several loops of a host may share an address, as they share a
  /// descriptor on a real one.
  func add(_ listener: SimulatedListener) -> Bool {
    let index = index(of: listener.driver.host)
    let isTaken = hosts[index].listeners.contains {
      $0.address == listener.address && $0.driver === listener.driver
    }
    guard !isTaken else { return false }
    hosts[index].listeners.append(listener)
    return true
  }

  func remove(_ listener: SimulatedListener) {
    hosts[index(of: listener.driver.host)].listeners.removeAll { $0 === listener }
    for socket in listener.waiting { closed(socket) }
  }

  func conditions(from: String, to: String) -> LinkConditions { conditions(Link(from: from, to: to)) }

  /// Sends a connect on its way.
  func dial(_ client: SimulatedSocket, _ target: SocketAddress) {
    let from = client.driver.host
    guard let host = host(for: target, from: from) else {
      // No such host: the local kernel knows no route.
      return client.driver.connectAnswered(client, SimulatedDriver.noRoute)
    }
    _ = events.arm(at: now + travelTime(from, host), .request(client, to: target))
  }

  /// Puts `payload` on the way to `socket`.
  func transmit(_ payload: SimulatedPayload, to socket: SimulatedSocket) {
    guard let from = socket.peer?.driver.host else { return }
    if case .bytes(let bytes) = payload { socket.pendingBytes += bytes.count }
    socket.inbound.append(payload)
    socket.lastArrival = max(socket.lastArrival, now + travelTime(from, socket.driver.host))
    _ = events.arm(at: socket.lastArrival, .arrival(socket))
  }

  /// Its owner closed it: the peer reads an end, or a reset when bytes were left unread. tcp(7), RFC 2525
  /// §2.17.
  func closed(_ socket: SimulatedSocket) {
    socket.life = .closed
    guard let peer = socket.peer else { return }
    guard peer.life != .closed else {
      // Both ends are gone: let them go of each other.
      socket.peer = nil
      peer.peer = nil
      return
    }
    if !socket.unread.isEmpty {
      transmit(.reset, to: peer)
    } else if !socket.hasFinished {
      transmit(.end, to: peer)
    }
  }

  // MARK: what arrives

  private func arrive(_ socket: SimulatedSocket) {
    guard !socket.inbound.isEmpty else { return }
    let payload = socket.inbound.removeFirst()
    switch socket.life {
    case .fresh, .connected:
      take(payload, socket)
    case .closed:
      if case .bytes = payload { answerWithReset(socket) }
    case .vanished:
      if hosts[index(of: socket.driver.host)].isUp {
        answerWithReset(socket)
      } else {
        socket.owesReset = true
      }
    }
  }

  private func take(_ payload: SimulatedPayload, _ socket: SimulatedSocket) {
    note(3, UInt64(socket.descriptor), UInt64(socket.pendingBytes))
    switch payload {
    case .bytes(let bytes): socket.unread += bytes
    case .end: socket.hasEnded = true
    case .reset:
      socket.wasReset = true
      socket.unread = []
    }
    socket.driver.inputArrived(socket)
  }

  private func answerWithReset(_ socket: SimulatedSocket) {
    socket.owesReset = false
    guard let peer = socket.peer, peer.life == .connected || peer.life == .fresh else { return }
    transmit(.reset, to: peer)
  }

  private func request(_ client: SimulatedSocket, _ target: SocketAddress) {
    let from = client.driver.host
    // Without power nobody answers: whoever dials has a deadline.
    guard client.life == .fresh, let name = host(for: target, from: from), hosts[index(of: name)].isUp
    else { return }
    let host = hosts[index(of: name)]
    let listeners = host.listeners.filter {
      $0.answers(target, hostAddress: host.address, fromSameHost: name == from)
    }
    let listener = listeners.count > 1 ? listeners.randomElement(using: &generator) : listeners.first
    let link = conditions(from: from, to: name)
    let isRefused =
      link.refusedConnects > 0 && Double.random(in: 0..<1, using: &generator) < link.refusedConnects
    let back = now + travelTime(name, from)
    note(4, UInt64(client.descriptor), listener == nil || isRefused ? 0 : 1)
    guard let listener, !isRefused else {
      _ = events.arm(at: back, .answer(client, errno: SimulatedDriver.refused))
      return
    }
    let server = SimulatedSocket(takeDescriptor(), listener.driver, local: target, remote: client.local)
    server.life = .connected
    server.peer = client
    client.peer = server
    // Nothing may overtake the answer.
    client.lastArrival = max(client.lastArrival, back)
    listener.waiting.append(server)
    listener.driver.connectionArrived(listener)
    _ = events.arm(at: back, .answer(client, errno: 0))
  }

  private func vanish(_ socket: SimulatedSocket, _ manner: SimulatedCrash) {
    guard socket.life == .connected || socket.life == .fresh else { return }
    switch manner {
    case .process:
      socket.life = .closed
      answerWithReset(socket)
    case .power:
      socket.life = .vanished
      hosts[index(of: socket.driver.host)].vanished.append(socket)
    }
  }

  // MARK: lookups

  /// The host an address leads to; nil when there is none.
  private func host(for target: SocketAddress, from: String) -> String? {
    if target.isLoopback { return from }
    guard case .ip4(let address, _) = target else { return nil }
    return hosts.first { $0.address == address }?.name
  }

  private func index(of name: String) -> Int {
    if let index = hosts.firstIndex(where: { $0.name == name }) { return index }
    precondition(hosts.count < 250, "a simulated network has at most 250 hosts")
    hosts.append(Host(name: name, address: 0x0A00_0001 + UInt32(hosts.count)))
    return hosts.count - 1
  }

  private func conditions(_ link: Link) -> LinkConditions { links[link] ?? conditions }

  private func travelTime(_ from: String, _ to: String) -> Duration {
    guard from != to else { return .microseconds(10) }
    let link = conditions(from: from, to: to)
    let jitter = link.jitter.inNanoseconds
    return link.delay + .nanoseconds(jitter > 0 ? Int64.random(in: 0...jitter, using: &generator) : 0)
  }

  /// Folds what happened, and when, into the fingerprint (FNV-1a).
  func note(_ what: UInt64, _ which: UInt64, _ count: UInt64) {
    for value in [UInt64(bitPattern: now.nanoseconds), what, which, count] {
      fingerprint = (fingerprint ^ value) &* 0x0000_0100_0000_01B3
    }
  }
}
