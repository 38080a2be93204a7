// Goal: no response leaves without its record, no record names another client, everybody ends up with the newest, and
// nothing is left of who is gone, in whatever order things happen.
// Method: random clients of all dialects, random publications, policies, gates and a lane whose writer writes all, some
// or none of it. MESHRELAY_SEED replays one storm.

import Foundation
import Gates
import Policy
import Primitives
import Ring
import SPIFFE
import Snapshots
import TestCertificates
import Testing

@testable import Downstream

struct AnnouncementStormTests {
  private static var seeds: [UInt64] {
    ProcessInfo.processInfo.environment["MESHRELAY_SEED"].flatMap { UInt64($0) }.map { [$0] } ?? Array(1...8)
  }

  @Test(arguments: seeds)
  func everythingIsOnRecordAndEverybodyUpToDate(_ seed: UInt64) throws {
    print("MESHRELAY_SEED=\(seed)")
    let storm = try AnnouncementStorm(seed: seed)
    try storm.run(steps: 120)
  }
}

/// One client, and what it was given.
private final class StormClient {
  let name: String
  let dialect: StagedDialect
  let staged: StagedClient
  /// Of what it was given last.
  var version: String?
  /// Responses that it will refuse.
  var refuses = 0
  /// It has answered NACK since everything was new.
  var hasRefused = false
  var hasTwoStreams = false
  private var hasHungUp = false

  init(_ name: String, _ dialect: StagedDialect, _ staged: StagedClient) {
    self.name = name
    self.dialect = dialect
    self.staged = staged
  }

  func hangUp() {
    hasHungUp = true
    staged.hangUp()
  }

  var isOver: Bool { hasHungUp || staged.isClosed || staged.status != nil || staged.dialReasons != nil }
}

private final class AnnouncementStorm {
  private static let namespaces = ["foo", "bar", "baz"]
  private static let clientsMost = 8
  /// Types that some ask for besides.
  private static let types = ["networking.istio.io/v1beta1/VirtualService", "networking.istio.io/v1/Gateway"]

  private var random: SeededGenerator
  private let seed: UInt64
  private let stage: Stage
  private let writer: StagedWriter
  /// By identity: its cluster and what that may see; nil: it has none.
  private var grants: [(cluster: String, namespaces: [String])?]
  private var frozen: Set<String> = []
  private var clients: [StormClient] = []
  private var content = 0
  /// What is published.
  private var names: Set<String> = []
  /// Nothing happens but publications and writing: then records and responses agree one by one.
  private let isCalm: Bool
  private var delivered = Book()
  private var received = Book()
  private var acknowledged = Book()
  /// Clusters that an identity has ever had.
  private var clusters: [String: Set<String>] = [:]
  private var read = 0
  private var readAcks = 0
  private(set) var announcements = 0

  /// Counts by identity and what is said of content.
  private struct Book {
    private(set) var counts: [String: Int] = [:]
    mutating func add(_ key: String) -> Int {
      counts[key, default: 0] += 1
      return counts[key] ?? 0
    }
    func count(_ key: String) -> Int { counts[key] ?? 0 }
  }

  init(seed: UInt64) throws {
    self.seed = seed
    random = SeededGenerator(seed: seed)
    isCalm = seed % 4 == 0
    // Some lanes are too small for what happens.
    writer = StagedWriter(bytes: seed % 4 == 1 ? 2_000 : seed % 4 == 2 ? 8_000 : 1 << 20)
    grants = (0..<AnnouncementStorm.clientsMost).map { ("k\($0)", [AnnouncementStorm.namespaces[$0 % 3]]) }
    stage = try Stage(.denyAll, audit: writer.lane)
    try adopt()
    try publish()
  }

  private func pick(_ count: Int) -> Int { Int(random.next() % UInt64(count)) }

  // MARK: steps

  func run(steps: Int) throws {
    for _ in 0..<(isCalm ? 6 : 4) { try connect() }
    try settle()
    for step in 0..<steps {
      try isCalm ? calmStep() : wildStep()
      stage.network.run(for: .milliseconds(Int64(pick(12))))
      look()
      if step % 30 == 29 { try settle() }
    }
    try settle()
    try end()
  }

  private func calmStep() throws {
    switch pick(4) {
    case 0: try publish()
    case 1: stage.serving.handle(.beat)
    default: write()
    }
  }

  private func wildStep() throws {
    switch pick(20) {
    case 0...4: try publish()
    case 5...8: write()
    case 9: stage.serving.handle(.beat)
    case 10: try connect()
    case 11: clients.randomElement(using: &random)?.hangUp()
    case 12: askForMore()
    case 13: clients.randomElement(using: &random)?.refuses = 1
    case 14: openAnother()
    case 15: try flood()
    case 16: try narrow()
    default: try changePolicy()
    }
  }

  private func write() {
    switch pick(5) {
    case 0: writer.take(commits: false)
    case 1: writer.commit(share: pick(101))
    case 2: writer.commit()
    default: writer.take()
    }
  }

  private func publish() throws {
    content += 1
    var resources: [Resource] = []
    for namespace in AnnouncementStorm.namespaces where namespace == "foo" || pick(3) > 0 {
      for index in 0...pick(3) { resources.append(try resource(namespace, "r\(index)", bytes: content)) }
    }
    let gone = names.subtracting(resources.map(\.wireName)).sorted()
    names = Set(resources.map(\.wireName))
    // Two causes at once: each is told by itself.
    stage.publish(resources, released: pick(2) == 0 ? gone.filter { _ in pick(2) == 0 } : [])
  }

  private func adopt() throws {
    var text = ""
    for (index, grant) in grants.enumerated() {
      guard let grant else { continue }
      clusters["c\(index)", default: []].insert(grant.cluster)
      text += "  - name: \(grant.cluster)\n    identities: [\"spiffe://example.org/c\(index)\"]\n"
      text += "    allow: [{namespaces: [\(grant.namespaces.joined(separator: ", "))]}]\n"
    }
    stage.adopt(try parsedRules(text.isEmpty ? "clusters: []\n" : "clusters:\n" + text))
  }

  private func changePolicy() throws {
    let index = pick(grants.count)
    switch pick(5) {
    case 0: grants[index] = nil
    case 1:
      // Another name, and another place in the order of clusters.
      grants[index] = ("\(["a", "z"][pick(2)])\(index)-\(pick(1000))", grants[index]?.namespaces ?? ["bar"])
    case 2:
      if let cluster = grants[index]?.cluster {
        _ = stage.perform(frozen.contains(cluster) ? .thaw(cluster: cluster) : .freeze(cluster: cluster))
        frozen.formSymmetricDifference([cluster])
      }
      return
    default: grants[index] = (grants[index]?.cluster ?? "k\(index)", someNamespaces())
    }
    // Its loop may hear of both at once.
    let isWritten = pick(2) == 0
    if isWritten {
      try publish()
      stage.network.run(for: .milliseconds(2))
      writer.take(commits: false)
    }
    try adopt()
    if isWritten { writer.commit() }
  }

  private func someNamespaces() -> [String] {
    let chosen = AnnouncementStorm.namespaces.filter { _ in pick(2) == 0 }
    return chosen.isEmpty ? ["foo"] : chosen
  }

  /// Takes something away while nothing is written: it is gone within a second or so, or its stream is.
  private func narrow() throws {
    guard let client = clients.randomElement(using: &random), !client.isOver,
      let index = Int(client.name.dropFirst()), let grant = grants[index], grant.namespaces.count > 1
    else { return }
    grants[index] = (grant.cluster, [grant.namespaces[pick(grant.namespaces.count)]])
    try adopt()
    stage.network.run(for: .milliseconds(1200))
    look()
    guard !client.isOver, let view = view(of: client) else { return }
    // What its source took away may wait.
    let names = Set(view.content(of: virtualService).names)
    let kept = client.staged.held.subtracting(names).filter {
      view.removalCause(of: $0, type: virtualService) == .policy
    }
    #expect(kept.isEmpty, "a narrowing waits; seed \(seed)")
  }

  // MARK: clients

  private func connect() throws {
    dismissEnded()
    guard clients.count < AnnouncementStorm.clientsMost else { return }
    let name = "c\(pick(AnnouncementStorm.clientsMost))"
    let dialect = StagedDialect.allCases[[0, 0, 1, 1, 2, 3, 4, 5][pick(8)]]
    let client = StormClient(name, dialect, try stage.client(name, dialect: dialect))
    client.staged.onResponse = { [unowned self, unowned client] in receive($0, client) }
    clients.append(client)
  }

  private func dismissEnded() {
    for client in clients where client.isOver { client.hangUp() }
    clients.removeAll { $0.isOver }
  }

  private func receive(_ response: StagedDialect.Response, _ client: StormClient) {
    look()
    for key in keys(client.name, response.typeName, response.version, response.sequence) {
      let count = received.add(key)
      #expect(count <= delivered.count(key), "a response without its record: \(key); seed \(seed)")
    }
    if response.typeName == client.dialect.typeName { client.version = response.version }
    // Nothing is refused for ever: an empty set would be the same one the next time.
    let refuses = client.refuses > 0 && !response.names.isEmpty
    client.staged.refusal = refuses ? "no" : nil
    if refuses {
      client.refuses -= 1
      client.hasRefused = true
    }
  }

  private func askForMore() {
    guard let client = clients.randomElement(using: &random),
      client.dialect == .delta || client.dialect == .stateOfTheWorld
    else { return }
    client.staged.ask(for: AnnouncementStorm.types[pick(AnnouncementStorm.types.count)])
  }

  /// More records than a small lane has room for, and answers among them.
  private func flood() throws {
    try publish()
    stage.network.run(for: .milliseconds(5))
    writer.take()
    for client in clients where client.dialect == .delta {
      for index in 0..<60 { client.staged.ask(for: "example.com/v1/T\(index)") }
    }
    stage.network.run(for: .milliseconds(20))
    writer.take()
  }

  private func openAnother() {
    guard let client = clients.randomElement(using: &random), !client.isOver, !client.hasTwoStreams else {
      return
    }
    client.hasTwoStreams = true
    client.staged.openStream()
  }

  private func view(of client: StormClient) -> View? {
    guard let id = try? SPIFFEID(parsing: "spiffe://example.org/\(client.name)") else { return nil }
    return stage.crossings.generation.value?.view(for: id)
  }

  // MARK: judging

  private func keys(_ name: String, _ type: String, _ version: String, _ sequence: String?) -> [String] {
    let key = "\(name) \(type) \(version)"
    return sequence.map { [key, key + " at \($0)"] } ?? [key]
  }

  /// Reads what is written by now.
  private func look() {
    if stage.serving.announcement != nil { announcements += 1 }
    for line in writer.lines[read..<writer.written] {
      guard let event = StagedWriter.value("event", of: line), event == "deliver" || event == "ack",
        let id = StagedWriter.value("spiffeID", of: line), let type = StagedWriter.value("type", of: line),
        let version = StagedWriter.value("version", of: line),
        let cluster = StagedWriter.value("cluster", of: line)
      else { continue }
      let name = String(id.dropFirst("spiffe://example.org/".count))
      #expect(clusters[name]?.contains(cluster) == true, "\(line); seed \(seed)")
      if event == "deliver" {
        for key in keys(name, type, version, StagedWriter.value("sequence", of: line)) {
          _ = delivered.add(key)
        }
      } else {
        let key = keys(name, type, version, nil)[0]
        #expect(acknowledged.add(key) <= delivered.count(key), "an ACK of nothing: \(line); seed \(seed)")
      }
    }
    read = writer.written
  }

  /// Everything is written, everybody who may is served again, and has the newest.
  private func settle() throws {
    for _ in 0..<20 {
      writer.take()
      stage.network.run(for: .milliseconds(50))
      look()
    }
    dismissEnded()
    try publish()
    for client in clients {
      client.refuses = 0
      // Nothing new comes to who is frozen.
      if !isFrozen(client) { client.hasRefused = false }
    }
    let isSettled = stage.run(atMost: .seconds(40)) {
      writer.take()
      return clients.allSatisfy { $0.isOver || isUpToDate($0) }
    }
    look()
    if !isSettled {
      let late = clients.filter { !$0.isOver && !isUpToDate($0) }.map {
        "\($0.name) \($0.dialect): \($0.staged.held.sorted()) and not "
          + "\(view(of: $0)?.content(of: virtualService).names.sorted() ?? [])"
      }
      Issue.record("\(late); seed \(seed)")
    }
    stage.serving.handle(.beat)
    writer.take()
    look()
    guard isCalm, writer.lost == 0 else { return }
    let unheard = delivered.counts.filter { !$0.key.contains(" at ") && received.count($0.key) != $0.value }
    #expect(unheard.isEmpty, "records without a response; seed \(seed)")
  }

  private func isFrozen(_ client: StormClient) -> Bool {
    Int(client.name.dropFirst()).flatMap { grants[$0]?.cluster }.map { frozen.contains($0) } ?? false
  }

  private func isUpToDate(_ client: StormClient) -> Bool {
    guard let content = view(of: client)?.content(of: virtualService) else { return false }
    return client.hasRefused
      || client.staged.held == Set(content.names)
        && client.version == content.version.description
  }

  /// Everybody leaves: nothing is left of them.
  private func end() throws {
    for client in clients { client.hangUp() }
    stage.run(atMost: .seconds(5)) {
      writer.take()
      return stage.serving.clients.isEmpty
    }
    #expect(stage.serving.clients.isEmpty)
    #expect(stage.serving.announcement == nil)
    #expect(stage.serving.seats.end <= AnnouncementStorm.clientsMost + 4, "rows are given anew; seed \(seed)")
    #expect((0..<stage.serving.seats.end).allSatisfy { !stage.serving.seats.isAnnounced($0) })
    var seats = stage.serving.seats
    #expect(seats.interests.enter(["nobody has this"]) == 0, "nobody is interested in anything; seed \(seed)")
    // As many as one memory of pieces has, twice, and a few for clients.
    #expect(writer.numbers < 2 * 1024 + 100)
    #expect(!isCalm || announcements > 0, "nothing was announced; seed \(seed)")
  }
}
