// Goal: whatever happens between our source and our sink, the sink ends up with what the source may show
// it, and on the way never has what was hidden once the source could say so. Method: seeded histories of
// views, lost streams, messages under way and waiting, in every method and mode; invariants at each step.

import Primitives
import Snapshots
import Testing

@testable import MCP

/// A method, and whether the sink takes changes.
struct Mode: Sendable, CustomStringConvertible {
  let method: MCPMethod
  let isIncremental: Bool

  static let all = [
    Mode(method: .resourceSource, isIncremental: false), Mode(method: .resourceSource, isIncremental: true),
    Mode(method: .resourceSink, isIncremental: false), Mode(method: .resourceSink, isIncremental: true),
    Mode(method: .aggregated, isIncremental: false),
  ]

  var description: String { "\(method)\(isIncremental ? " incremental" : "")" }
}

struct ConvergenceTests {
  @Test(arguments: UInt64(1)...25, Mode.all)
  func theSinkReachesTheView(seed: UInt64, mode: Mode) throws {
    var history = History(seed: seed, mode: mode)
    try history.run(steps: 120)
    try history.settle()
    #expect(history.reached == history.expected, "seed \(seed) \(mode)")
    #expect(history.isComplete, "seed \(seed) \(mode)")
  }
}

private struct History {
  private let mode: Mode
  private var generator: SeededGenerator
  private var source: MCPSource
  private var sink: MCPSink
  private var merge: Merge
  private var now = at(0)
  private var number: UInt64 = 0
  private var current = View.nothing
  private var bodies: [String: (body: String, isHidden: Bool)] = [:]
  /// Requests and messages under way.
  private var upward: [[UInt8]] = []
  private var downward: [[UInt8]] = []

  init(seed: UInt64, mode: Mode) {
    self.mode = mode
    generator = SeededGenerator(seed: seed)
    source = MCPSource(method: mode.method, limits: Limits())
    let kinds = [kind("VirtualService"), kind("Gateway")]
    let types = Set(kinds.map(\.type))
    sink = MCPSink(
      MCPSink.Settings(
        method: mode.method, isIncremental: mode.isIncremental, kinds: kinds, node: SinkNode(id: "edge"),
        source: "central", upstream: "up", limits: Limits()))
    merge = Merge(sources: [
      MergeSource(name: "central", listsEverything: false, supplies: { types.contains($0) })
    ])
    publish()
    reconnect()
  }

  /// What the view shows, the constant Gateway aside: name → body. Never empty: a source that cannot say
  /// why it has nothing left is not believed.
  var expected: [String: String] {
    Dictionary(
      uniqueKeysWithValues: bodies.filter { !$0.value.isHidden }.map { ("prod/" + $0.key, $0.value.body) })
  }

  var reached: [String: String] {
    guard case .ready(let collection) = merge.snapshot(at: position()).state(of: kind("VirtualService").type)
    else { return [:] }
    return Dictionary(
      uniqueKeysWithValues: collection.resources.map {
        ($0.wireName, String(decoding: $0.body, as: UTF8.self))
      })
  }

  var isComplete: Bool { merge.isComplete }

  mutating func run(steps: Int) throws {
    for _ in 0..<steps {
      switch Int.random(in: 0..<12, using: &generator) {
      case 0...2: publish()
      case 3...6: try deliverRequest()
      case 7...10: try deliverMessage()
      default:
        now = now + .milliseconds(Int64.random(in: 1...8_000, using: &generator))
        if Int.random(in: 0..<4, using: &generator) == 0 { reconnect() }
      }
      try pump()
    }
  }

  mutating func settle() throws {
    for _ in 0..<12 {
      while !upward.isEmpty || !downward.isEmpty {
        try deliverRequest()
        try deliverMessage()
        try pump()
      }
      now = now + .seconds(11)
      try pump()
    }
    for (name, entry) in bodies where entry.isHidden {
      #expect(reached["prod/" + name] == nil, "\(name) is hidden and is still there")
    }
  }

  private mutating func publish() {
    for _ in 0..<Int.random(in: 1..<6, using: &generator) {
      let name = "r\(Int.random(in: 0..<12, using: &generator))"
      switch Int.random(in: 0..<4, using: &generator) {
      case 0: bodies[name] = nil
      case 1: bodies[name]?.isHidden.toggle()
      default: bodies[name] = ("b\(Int.random(in: 0..<6, using: &generator))", false)
      }
    }
    bodies["always"] = ("here", false)
    number += 1
    let entries = bodies.sorted { $0.key < $1.key }
    current = view(
      number,
      entries.filter { !$0.value.isHidden }.map { virtualService($0.key, $0.value.body) }
        + [resource("g", of: "Gateway", "1")],
      hidden: entries.filter(\.value.isHidden).map { virtualService($0.key, $0.value.body) })
    source.update(current)
  }

  private mutating func reconnect() {
    source = MCPSource(method: mode.method, limits: Limits())
    source.update(current)
    downward = source.greeting.map { [$0] } ?? []
    upward = sink.begin(held: merge.held(by: "central"), upstream: "up")
  }

  private mutating func deliverRequest() throws {
    guard !upward.isEmpty else { return }
    try source.receive(upward.removeFirst(), now: now)
    while let event = source.nextEvent() {
      if case .rejected(_, _, let message) = event { Issue.record("our own sink refuses: \(message)") }
    }
  }

  private mutating func deliverMessage() throws {
    guard !downward.isEmpty else { return }
    let updates = try sink.receive(downward.removeFirst(), now: now, wallClock: Timestamp(seconds: 1))
    for update in updates {
      #expect(update.rejected.isEmpty)
      _ = merge.apply(update)
    }
    while let request = sink.nextRequest() { upward.append(request) }
    while sink.nextEvent() != nil {}
  }

  private mutating func pump() throws {
    source.deadlinePassed(now: now)
    while let response = try source.nextResponse(now: now) {
      let read = try ReadMessage(response.bytes, mode.method, collection: response.typeURL)
      #expect(mode.isIncremental || !read.head.isIncremental, "a change for a sink that takes none")
      for content in read.contents where response.typeURL == services {
        #expect(expected[content.name] == content.body, "\(content.name) is not in the view")
      }
      downward.append(response.bytes)
    }
  }
}
