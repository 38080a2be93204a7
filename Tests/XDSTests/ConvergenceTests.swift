// Goal: whatever happens on a stream, a client that follows the protocol ends up with the view, and on
// the way never gets what it may not see, never twice what it refused, and loses at once what policy
// takes. Method: seeded histories of views, answers, lost streams and waiting; a client model of a few
// lines; invariants after every step.

import Primitives
import Snapshots
import Testing

@testable import XDS

struct ConvergenceTests {
  @Test(arguments: UInt64(1)...40, [ADSDialect.stateOfTheWorld, .delta])
  func everyClientReachesTheView(seed: UInt64, dialect: ADSDialect) throws {
    var history = History(seed: seed, dialect: dialect, refusesSome: false)
    try history.run(steps: 120)
    try history.settle()
    #expect(history.client.contents == history.expected, "seed \(seed) \(dialect)")
  }

  @Test(arguments: UInt64(1)...40, [ADSDialect.stateOfTheWorld, .delta])
  func refusalsAreRespected(seed: UInt64, dialect: ADSDialect) throws {
    var history = History(seed: seed, dialect: dialect, refusesSome: true)
    try history.run(steps: 120)
    try history.settle()
    guard dialect == .delta else { return }
    for (name, version) in history.expected where history.client.contents[name] != version {
      #expect(
        history.client.refused.contains(version + name),
        "seed \(seed): \(name) is missing and was not refused")
    }
  }
}

/// A response the client has not answered yet.
private struct Unanswered {
  let nonce: String
  let isRefused: Bool
  /// What must never come again once it has been refused.
  let contents: [String]
}

/// A client that applies what it accepts, and remembers what the server knows it refused.
private struct Client {
  let dialect: ADSDialect
  var contents: [String: String] = [:]
  var refused: Set<String> = []
  /// Oldest first.
  var unanswered: [Unanswered] = []
  var nonces: Set<String> = []
  var isFirst = true

  mutating func take(_ read: ReadResponse, refuses: Bool) {
    let received = Dictionary(read.contents.map { ($0.name, $0.body) }) { $1 }
    #expect(received.count == read.contents.count, "a name occurs twice in one response")
    #expect(nonces.insert(read.response.nonce).inserted, "a nonce occurs twice on one stream")
    switch dialect {
    case .stateOfTheWorld:
      if !refuses { contents = received }
    case .delta:
      guard !refuses else { break }
      contents.merge(received) { $1 }
      for name in read.response.removed { contents[name] = nil }
    }
    let refusable =
      dialect == .delta ? received.map { $0.value + $0.key } : [read.response.version]
    #expect(refused.isDisjoint(with: refusable), "refused content was sent again")
    unanswered.append(Unanswered(nonce: read.response.nonce, isRefused: refuses, contents: refusable))
  }
}

private struct History {
  let dialect: ADSDialect
  let refusesSome: Bool
  var generator: SeededGenerator
  var client: Client
  private var server: ADSServer
  private var now = at(0)
  private var bodies: [String: (body: String, isHidden: Bool)] = [:]
  private var number: UInt64 = 0
  private var current = View.nothing
  private let url = "networking.istio.io/v1/VirtualService"

  init(seed: UInt64, dialect: ADSDialect, refusesSome: Bool) {
    self.dialect = dialect
    self.refusesSome = refusesSome
    generator = SeededGenerator(seed: seed)
    client = Client(dialect: dialect)
    server = ADSServer(dialect: dialect, limits: Limits())
  }

  /// What the view shows: name → body.
  var expected: [String: String] {
    Dictionary(
      uniqueKeysWithValues: bodies.filter { !$0.value.isHidden }.map { ("prod/" + $0.key, $0.value.body) })
  }

  mutating func run(steps: Int) throws {
    for _ in 0..<steps {
      switch Int.random(in: 0..<10, using: &generator) {
      case 0...3: publish()
      case 4...6: try enduring { history throws(ADSError) in try history.answer(all: false) }
      case 7: try ask()
      case 8: now = now + .milliseconds(Int64.random(in: 1...8_000, using: &generator))
      default:
        if Int.random(in: 0..<4, using: &generator) == 0 { reconnect() }
      }
      try drain(mayRefuse: refusesSome)
    }
  }

  /// Lets the client answer everything and time pass until nothing moves.
  mutating func settle() throws {
    publish()
    for _ in 0..<8 {
      if client.isFirst { try ask() }
      try drain(mayRefuse: false)
      try enduring { history throws(ADSError) in try history.answer(all: true) }
      now = now + .seconds(11)
    }
    try drain(mayRefuse: false)
    #expect(client.unanswered.isEmpty)
  }

  private mutating func publish() {
    for _ in 0..<Int.random(in: 0..<6, using: &generator) {
      let name = "r\(Int.random(in: 0..<12, using: &generator))"
      switch Int.random(in: 0..<4, using: &generator) {
      case 0: bodies[name] = nil
      case 1: bodies[name]?.isHidden.toggle()
      default: bodies[name] = ("b\(Int.random(in: 0..<6, using: &generator))", false)
      }
    }
    number += 1
    let make: ((String, (body: String, isHidden: Bool))) -> Resource = {
      resource("VirtualService", $0.0, $0.1.body)
    }
    current = view(
      number, ["VirtualService": bodies.filter { !$0.value.isHidden }.map { make(($0.key, $0.value)) }],
      hidden: ["VirtualService": bodies.filter(\.value.isHidden).map { make(($0.key, $0.value)) }])
    server.update(current)
  }

  private mutating func ask() throws {
    switch dialect {
    case .stateOfTheWorld:
      var request = DiscoveryRequest()
      request.typeURL = url
      request.nonce = client.isFirst ? "junk" : ""
      try server.receive(request.encoded(node: nil), now: now)
    case .delta:
      var request = DeltaDiscoveryRequest()
      request.typeURL = url
      if client.isFirst {
        for (name, body) in client.contents {
          request.initialVersions[name] =
            resource("VirtualService", String(name.dropFirst(5)), body).version.description
        }
      } else {
        request.subscribe = ["*"]
      }
      try server.receive(request.encoded(node: nil), now: now)
    }
    client.isFirst = false
  }

  private mutating func answer(all: Bool) throws(ADSError) {
    while !client.unanswered.isEmpty {
      // Now and then only the newest is answered, as a lazy client might.
      let isLazy = !all && Int.random(in: 0..<5, using: &generator) == 0
      let answered = isLazy ? client.unanswered.removeLast() : client.unanswered.removeFirst()
      let fault = answered.isRefused ? RequestFault(code: 3, message: "no") : nil
      switch dialect {
      case .stateOfTheWorld:
        var request = DiscoveryRequest()
        request.typeURL = url
        request.nonce = answered.nonce
        request.fault = fault
        try server.receive(request.encoded(node: nil), now: now)
      case .delta:
        var request = DeltaDiscoveryRequest()
        request.typeURL = url
        request.nonce = answered.nonce
        request.fault = fault
        try server.receive(request.encoded(node: nil), now: now)
      }
      while let event = server.nextEvent() {
        if case .rejected = event { client.refused.formUnion(answered.contents) }
      }
      if !all { return }
    }
  }

  private mutating func reconnect() {
    server = ADSServer(dialect: dialect, limits: Limits())
    server.update(current)
    client = Client(dialect: dialect, contents: client.contents)
  }

  private mutating func drain(mayRefuse: Bool) throws {
    server.deadlinePassed(now: now)
    try enduring { history throws(ADSError) in
      while let response = try history.server.nextResponse(now: history.now) {
        history.receive(response, mayRefuse: mayRefuse)
      }
    }
    while server.nextEvent() != nil {}
    guard !refusesSome, server.status.first?.sent != nil else { return }
    for (name, resource) in bodies where resource.isHidden {
      #expect(client.contents["prod/" + name] == nil, "\(name) was hidden and is still there")
    }
  }

  /// The stream ends only where a client refuses to give up what it may no longer have.
  private mutating func enduring(_ step: (inout History) throws(ADSError) -> Void) throws {
    do throws(ADSError) {
      try step(&self)
    } catch {
      guard case .withdrawalRefused = error, refusesSome else { throw error }
      reconnect()
    }
  }

  private mutating func receive(_ response: ADSResponse, mayRefuse: Bool) {
    guard let read = try? ReadResponse(response.bytes, dialect) else {
      Issue.record("a response cannot be read")
      return
    }
    let isSplit = read.cause == "policy"
    for content in read.contents {
      // A split withdrawal repeats what the client has; everything else is of the newest view.
      #expect(isSplit || expected[content.name] == content.body, "\(content.name) is not in the view")
      #expect(bodies[String(content.name.dropFirst(5))]?.isHidden != true, "hidden content was sent")
    }
    client.take(read, refuses: mayRefuse && Int.random(in: 0..<4, using: &generator) == 0)
  }
}
