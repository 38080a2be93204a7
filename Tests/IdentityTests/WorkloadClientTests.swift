// Goal: the stream to an agent is asked for as the standard says, heard for ever, and begun again with patience,
// whatever the agent does. Method: an agent of our own transport on a simulated network, with virtual time.

import GRPC
import HTTP2
import Identity
import Primitives
import Ring
import SPIFFE
import TestCertificates
import Testing
import Transport
import Trust

private let td = TestAuthority("td")

/// The agent's host.
private final class SimulatedAgent: ListenerOwner, CallHandler {
  static let port: UInt16 = 8_081
  private let loop: EventLoop
  private var listener: Listener?
  private(set) var heads: [RequestHead] = []
  private(set) var askedAt: [Instant] = []
  private(set) var requests: [[UInt8]] = []
  private var calls: [Call] = []
  private var connections: [Connection] = []
  /// What new calls are told.
  var answer: [UInt8]?
  var status: GRPCStatus?

  init(_ network: SimulatedNetwork) {
    loop = EventLoop(driver: SimulatedDriver(network: network, host: "agent"))
  }

  func listen(_ network: SimulatedNetwork) throws {
    listener = try Listener(
      address: network.address(of: "agent", port: SimulatedAgent.port), loop: loop, limits: Limits(),
      memory: LoopMemory(), owner: self)
  }

  func stop() {
    listener?.stop()
    listener = nil
    for connection in connections { connection.close(.closedHere(GRPCStatus(.unavailable, "stopping"))) }
  }

  func say(_ bytes: [UInt8]) {
    answer = bytes
    for call in calls { call.send(head: bytes) }
  }

  func end(_ status: GRPCStatus) { for call in calls { call.finish(status) } }

  func securityForNewConnection(on listener: Listener) -> Connection.Security? { .plaintext }
  func listener(_ listener: Listener, accepted connection: Connection) { connections.append(connection) }
  func connectionVerified(_ connection: Connection) {}
  func connectionReady(_ connection: Connection) {}
  func connection(_ connection: Connection, opened call: Call, head: RequestHead) -> (any CallHandler)? {
    heads.append(head)
    askedAt.append(loop.now)
    if let status {
      call.finish(status)
      return self
    }
    calls.append(call)
    if let answer { call.send(head: answer) }
    return self
  }
  func connectionClosed(_ connection: Connection, _ reason: ConnectionEnd) {
    connections.removeAll { $0 === connection }
  }
  func callAccepted(_ call: Call) {}
  func call(_ call: Call, received message: [UInt8]) { requests.append(message) }
  func callHalfClosed(_ call: Call) {}
  func callDrained(_ call: Call) {}
  func callEnded(_ call: Call, _ status: GRPCStatus) { calls.removeAll { $0 === call } }
}

private final class Stage: WorkloadClientOwner {
  let network = SimulatedNetwork(seed: 4, start: epoch)
  let agent: SimulatedAgent
  let loop: EventLoop
  private(set) var offers: [String] = []
  private(set) var troubles: [WorkloadTrouble] = []
  private(set) var client: WorkloadClient?

  init() throws {
    agent = SimulatedAgent(network)
    loop = EventLoop(driver: SimulatedDriver(network: network, host: "relay"))
    client = WorkloadClient(
      network.address(of: "agent", port: SimulatedAgent.port), loop: loop, limits: Limits(), seed: 7,
      owner: self)
  }

  func workload(_ client: WorkloadClient, offered offer: WorkloadOffer) {
    offers.append((try? offer.resolve(nil, at: loop.wallClock).svid.id.path) ?? "unusable")
  }

  func workload(_ client: WorkloadClient, isInTrouble trouble: WorkloadTrouble) { troubles.append(trouble) }

  func run(_ time: Duration) { network.run(for: time) }
}

private func svid(_ path: String) throws -> [UInt8] { try answer([offered("spiffe://td" + path, by: td)]) }

struct WorkloadClientTests {
  @Test func itAsksAsTheStandardSays() throws {
    let stage = try Stage()
    try stage.agent.listen(stage.network)
    stage.agent.answer = try svid("/a")
    stage.client?.start()
    stage.run(.seconds(1))
    #expect(stage.agent.heads.map(\.path) == ["/SpiffeWorkloadAPI/FetchX509SVID"])
    #expect(
      stage.agent.heads.first?.metadata == [HeaderField(name: "workload.spiffe.io", value: "true")])
    #expect(stage.agent.requests == [[]])
    #expect(stage.offers == ["/a"] && stage.troubles.isEmpty)
  }

  @Test func itHearsEveryRotationAndSilenceIsNoTrouble() throws {
    let stage = try Stage()
    try stage.agent.listen(stage.network)
    stage.agent.answer = try svid("/a")
    stage.client?.start()
    stage.run(.seconds(3_600))
    stage.agent.say(try svid("/b"))
    stage.run(.seconds(3_600))
    #expect(stage.offers == ["/a", "/b"] && stage.agent.heads.count == 1 && stage.troubles.isEmpty)
  }

  @Test func anAgentThatComesLateIsFoundWithinHalfAMinute() throws {
    let stage = try Stage()
    stage.client?.start()
    stage.run(.seconds(600))
    #expect(stage.troubles.count == 1, "one reason is told once")
    guard case .unreachable? = stage.troubles.first else {
      Issue.record("\(stage.troubles)")
      return
    }
    try stage.agent.listen(stage.network)
    stage.agent.answer = try svid("/a")
    stage.run(.seconds(37))
    #expect(stage.offers == ["/a"])
    #expect(stage.client?.trouble == nil)
  }

  @Test func anAgentsRestartIsFollowedAtOnce() throws {
    let stage = try Stage()
    try stage.agent.listen(stage.network)
    stage.agent.answer = try svid("/a")
    stage.client?.start()
    stage.run(.seconds(60))
    stage.agent.end(GRPCStatus(.unavailable, "shutting down"))
    stage.run(.seconds(1))
    #expect(stage.offers == ["/a", "/a"])
  }

  /// An agent that answers and ends, over and over, is not stormed.
  @Test func aStreamThatNeverLastsIsWaitedFor() throws {
    let stage = try Stage()
    try stage.agent.listen(stage.network)
    stage.agent.answer = try svid("/a")
    stage.client?.start()
    for _ in 0..<600 {
      stage.run(.milliseconds(100))
      stage.agent.end(GRPCStatus(.unavailable, "no"))
    }
    #expect((20...90).contains(stage.agent.heads.count), "\(stage.agent.heads.count) calls in a minute")
  }

  @Test func refusalsAreExplainedAndTriedAgain() throws {
    let stage = try Stage()
    try stage.agent.listen(stage.network)
    stage.agent.status = GRPCStatus(.permissionDenied, "no identity issued")
    stage.client?.start()
    stage.run(.seconds(300))
    #expect(stage.troubles.count == 1)
    #expect(stage.troubles.first?.description.contains("spire-server entry create") == true)
    #expect((8...20).contains(stage.agent.heads.count))
    let gaps = zip(stage.agent.askedAt.dropFirst(), stage.agent.askedAt).map { $0 - $1 }
    #expect(gaps.allSatisfy { $0 >= .milliseconds(790) && $0 <= .seconds(37) })
    stage.agent.status = nil
    stage.agent.answer = try svid("/a")
    stage.run(.seconds(40))
    #expect(stage.offers == ["/a"])
  }

  /// A refusal after an answer on the same stream takes that answer back; one before an answer does not.
  @Test func aRefusalOfAnEstablishedStreamTakesBack() throws {
    let stage = try Stage()
    try stage.agent.listen(stage.network)
    stage.agent.answer = try svid("/a")
    stage.client?.start()
    stage.run(.seconds(60))
    stage.agent.end(GRPCStatus(.unavailable, "restarting"))
    stage.agent.status = GRPCStatus(.permissionDenied, "not synchronised")
    stage.run(.seconds(5))
    guard case .noEntry? = stage.troubles.last else {
      Issue.record("\(stage.troubles)")
      return
    }
    stage.agent.status = nil
    stage.run(.seconds(60))
    #expect(stage.offers == ["/a", "/a"])
    stage.agent.end(GRPCStatus(.permissionDenied, "no identity issued"))
    stage.run(.milliseconds(100))
    guard case .withdrawn(_, "no identity issued")? = stage.troubles.last else {
      Issue.record("\(stage.troubles)")
      return
    }
    #expect(stage.troubles.last?.description.contains("spire-server entry create") == true)
  }

  @Test(arguments: [StatusCode.invalidArgument, .unimplemented])
  func whatTryingAgainDoesNotChangeIsTriedSeldom(_ code: StatusCode) throws {
    let stage = try Stage()
    try stage.agent.listen(stage.network)
    stage.agent.status = GRPCStatus(code, "no")
    stage.client?.start()
    stage.run(.seconds(200))
    #expect(stage.agent.heads.count == 1)
    stage.run(.seconds(2_000))
    #expect((5...10).contains(stage.agent.heads.count))
  }

  @Test func anAgentThatHangsIsLeft() throws {
    let stage = try Stage()
    try stage.agent.listen(stage.network)
    stage.client?.start()
    stage.run(.seconds(35))
    #expect(stage.troubles == [.silent(endpoint: stage.client?.endpoint.description ?? "")])
    stage.agent.answer = try svid("/a")
    stage.run(.seconds(35))
    #expect(stage.offers == ["/a"])
  }

  @Test func nonsenseIsDroppedAndTheStreamGoesOn() throws {
    let stage = try Stage()
    try stage.agent.listen(stage.network)
    stage.agent.answer = [0xFF]
    stage.client?.start()
    stage.run(.seconds(1))
    stage.agent.say(try svid("/a"))
    stage.run(.seconds(1))
    #expect(stage.troubles == [.malformed(reason: "it is no X509SVIDResponse")])
    #expect(stage.offers == ["/a"] && stage.agent.heads.count == 1)
  }

  @Test func stoppedIsStopped() throws {
    let stage = try Stage()
    try stage.agent.listen(stage.network)
    stage.agent.answer = try svid("/a")
    stage.client?.start()
    stage.run(.seconds(1))
    stage.client?.stop()
    stage.agent.say(try svid("/b"))
    stage.run(.seconds(100))
    #expect(stage.offers == ["/a"] && stage.agent.heads.count == 1)
  }
}
