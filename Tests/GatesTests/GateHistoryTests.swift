// Goal: under any history of changes, policies, commands and time, every cluster is served exactly what the rules
// of gates say, and never what the policy of now hides or a source may no longer let us have.
// Method: seeded histories beside a model that keeps plain dictionaries and works everything out anew.

import Policy
import Primitives
import Snapshots
import Testing

@testable import Gates

struct GateHistoryTests {
  private static let brake = Brake(removes: 30, atLeast: 3, most: 9, window: .seconds(60))

  @Test(arguments: UInt64(1)...40)
  func everyClusterIsServedWhatTheModelSays(seed: UInt64) throws {
    var generator = SeededGenerator(seed: seed)
    var story = try Story(brake: GateHistoryTests.brake, &generator)
    var kinds: Set<Gate.Kind> = []
    for step in 0..<120 {
      let done = try story.step(&generator)
      for finding in story.findings { Issue.record("seed \(seed) step \(step) after \(done): \(finding)") }
      guard story.findings.isEmpty else { return }
      kinds.formUnion(story.publisher.gates.gates.map(\.gate.kind))
    }
    #expect(kinds.count >= 2, "seed \(seed) closed no gates")
  }
}

/// The publisher and the model, side by side.
private struct Story {
  var publisher: Publisher
  private var merge = Merge(
    sources: ["central", "local"].map { MergeSource(name: $0, listsEverything: true) })
  private var model: Model
  private var history: [KeptContent] = []
  private var now = Timestamp(seconds: 1_000)
  private var sequence: UInt64 = 1
  private(set) var findings: [String] = []

  init(brake: Brake, _ generator: inout SeededGenerator) throws {
    let rules = try Samples.rules(0)
    publisher = Publisher(rules: rules, brake: brake)
    model = Model(brake: brake, rules: rules)
    for source in ["central", "local"] {
      let upserts = Samples.types.map { type in
        SourceUpdate(
          source: source, kind: .change(type, upserts: Samples.fill(type, source, &generator), removals: []))
      }
      for update in upserts + [SourceUpdate(source: source, kind: .complete)] { apply(update) }
    }
  }

  mutating func step(_ generator: inout SeededGenerator) throws -> String {
    findings = []
    now = Timestamp(seconds: now.seconds + Int64.random(in: 0...20, using: &generator))
    let done: String
    switch Int.random(in: 0..<12, using: &generator) {
    case 0:
      let rules = try Samples.rules(Int.random(in: 0..<3, using: &generator))
      compare(publisher.replace(rules: rules), model.replace(rules))
      done = "other rules"
    case 1...3: done = command(&generator)
    default: done = change(&generator)
    }
    return done
  }

  private mutating func change(_ generator: inout SeededGenerator) -> String {
    let source = Bool.random(using: &generator) ? "central" : "local"
    let type = Samples.types.randomElement(using: &generator) ?? Samples.types[0]
    let causes: [RemovalCause] = [.source, .source, .source, .policy, .released]
    let cause = causes[Int.random(in: 0..<5, using: &generator)]
    let names = merge.held(by: source)[type]?.names ?? []
    let shares: [Double] = [0, 0.05, 0.2, 0.6]
    let share = shares[Int.random(in: 0..<4, using: &generator)]
    let removals = names.filter { _ in Double.random(in: 0..<1, using: &generator) < share }
    let upserts = (0..<Int.random(in: 0...4, using: &generator)).map { _ in
      Samples.resource(type, source, &generator)
    }
    apply(
      SourceUpdate(
        source: source, kind: .change(type, upserts: upserts, removals: removals), removals: cause))
    return "\(cause) removes \(removals.count) \(type.kind) of \(source), \(upserts.count) set"
  }

  private mutating func apply(_ update: SourceUpdate) {
    let change = merge.apply(update)
    sequence += 1
    let snapshot = merge.snapshot(
      at: Position(origin: "o", sequence: sequence, published: now, path: []))
    let publication = publisher.apply(change, snapshot: snapshot, now: now)
    compare(publication, model.apply(change, snapshot, now))
    history.append(KeptContent(version: snapshot.version, collections: snapshot.collections))
    // As the store does: what was revoked is in no kept version.
    for index in history.indices {
      history[index].collections = history[index].collections.without(
        history[index].collections.names(of: change.revoked))
    }
  }

  private mutating func command(_ generator: inout SeededGenerator) -> String {
    let cluster = ["a", "b", "c", "d", "nobody"].randomElement(using: &generator) ?? "a"
    let one: String? = Int.random(in: 0..<3, using: &generator) == 0 ? nil : cluster
    guard let content = history.randomElement(using: &generator) else { return "nothing" }
    let commands: [GateCommand] = [
      .pin(cluster, content), .unpin(cluster), .rollBack(content, cluster: one), .freeze(cluster: one),
      .thaw(cluster: one), .thaw(cluster: one), .release(cluster, nil), .release(cluster, Samples.types[0]),
    ]
    let command = commands.randomElement(using: &generator) ?? commands[0]
    let expected = model.perform(command, now)
    do throws(GateError) {
      let publication = try publisher.perform(command, snapshot: publisher.current.snapshot, now: now)
      if !expected { findings.append("the model refuses what was done") }
      compare(publication, [])
    } catch {
      if expected { findings.append("refused: \(error)") }
    }
    return String(String(describing: command).prefix(40))
  }

  private mutating func compare(_ publication: Publication, _ events: [String]) {
    model.settle()
    let generation = publication.generation
    for cluster in generation.rules.clusters {
      let view = generation.views[generation.place(ofCluster: cluster.index)]
      let expected = model.view(cluster)
      for type in Samples.types {
        let names = (view.collections[type] ?? .empty).resources.map { "\($0.wireName)=\($0.version)" }
        let wanted = (expected[type] ?? [:]).values.map { "\($0.wireName)=\($0.version)" }.sorted()
        if names.sorted() != wanted {
          findings.append("\(cluster.name) \(type.kind): \(names.sorted()) instead of \(wanted)")
        }
      }
    }
    let held = Set(publisher.gates.held.keys)
    if held != Set(model.held.keys) { findings.append("held \(held) instead of \(Set(model.held.keys))") }
  }
}

/// What the rules of gates say, worked out anew at every step.
private struct Model {
  typealias Content = [TypeName: [String: Resource]]

  struct Kept {
    var kind: Gate.Kind
    var content: Content
    var passed: Set<String> = []
    var released: Set<TypeName> = []
  }

  let brake: Brake
  private var rules: PolicyRules
  private var newest: Content = [:]
  private var causes = RemovalCauses()
  private var last: Content = [:]
  /// Every source removal, ever: when, what, and whether it exists again.
  private var removals: [(at: Timestamp, resource: Resource, isVoid: Bool)] = []
  private var marks: [String: Int] = [:]
  private var own: [String: Kept] = [:]
  private(set) var held: [String: Kept] = [:]
  private var all: Kept?
  private var thawed: Set<String> = []

  init(brake: Brake, rules: PolicyRules) {
    self.brake = brake
    self.rules = rules
  }

  private static func plain(_ collections: [TypeName: Collection]) -> Content {
    collections.mapValues { collection in
      Dictionary(uniqueKeysWithValues: collection.resources.map { ($0.wireName, $0) })
    }
  }

  private func gate(_ cluster: String) -> Kept? {
    if let gate = own[cluster] { return gate }
    let everybody = thawed.contains(cluster) ? nil : all
    if everybody?.kind == .rolledBack { return everybody }
    return held[cluster] ?? everybody
  }

  private func cut(_ content: Content, _ cluster: ClusterRules) -> Content {
    content.mapValues { objects in
      objects.filter { name, old in
        let now = newest[old.type]?[name] ?? last[old.type]?[name] ?? old
        return rules.isVisible(ResourceFacts(old), class: cluster.classIndex)
          && rules.isVisible(ResourceFacts(now), class: cluster.classIndex)
      }
    }
  }

  func view(_ cluster: ClusterRules) -> Content {
    cut(gate(cluster.name)?.content ?? newest, cluster)
      .mapValues { objects in objects.mapValues { Samples.redacted($0, cluster.redaction) } }
  }

  /// Nothing is remembered of objects that went while nothing is kept.
  mutating func settle() { if own.isEmpty && held.isEmpty && all == nil { last = [:] } }

  private func isGone(_ resource: Resource) -> Bool {
    newest[resource.type]?[resource.wireName] == nil && causes[resource.type, resource.wireName] == nil
  }

  private func isTooMuch(_ lost: [TypeName: Int], of had: [TypeName: Int]) -> Bool {
    let total = lost.values.reduce(0, +)
    if total > brake.most { return true }
    return total >= brake.atLeast
      && lost.contains { type, count in
        count > 0 && Double(count) > Double(had[type] ?? 0) * Double(brake.removes) / 100
      }
  }

  private func wouldLoseTooMuch(_ gate: Kept, _ cluster: ClusterRules) -> Bool {
    let (lost, had) = losses(gate, cluster)
    return isTooMuch(lost, of: had)
  }

  private func losses(_ gate: Kept, _ cluster: ClusterRules) -> (lost: [TypeName: Int], had: [TypeName: Int])
  {
    let has = cut(gate.content, cluster)
    let would = cut(newest, cluster)
    var (lost, had) = ([TypeName: Int](), [TypeName: Int]())
    for type in Samples.types where !gate.released.contains(type) {
      let old = has[type] ?? [:]
      let going = old.values.filter { would[type]?[$0.wireName] == nil && isGone($0) }.count
      let passed = gate.passed.filter { text in
        let name = String(text.dropFirst(type.kind.count + 1))
        return text.hasPrefix(type.kind + " ") && old[name] == nil && newest[type]?[name] == nil
          && causes[type, name] == nil
      }.count
      lost[type] = going + passed
      had[type] = old.count + passed
    }
    return (lost, had)
  }

  mutating func apply(_ change: Merge.Change, _ snapshot: Snapshot, _ now: Timestamp) -> [String] {
    let before = newest
    newest = Model.plain(snapshot.collections)
    causes = snapshot.removalCauses
    let keeps = !(own.isEmpty && held.isEmpty && all == nil)
    erase(change.revoked)
    let oldest = now.milliseconds - brake.window.inNanoseconds / 1_000_000
    forgotten = removals.firstIndex { $0.at.milliseconds >= oldest } ?? removals.count
    let first = removals.count
    for type in change.types {
      for resource in type.upserts { note(returned: resource) }
      for name in type.removals {
        guard let resource = before[type.type]?[name], newest[type.type]?[name] == nil else { continue }
        if keeps { last[type.type, default: [:]][name] = resource }
        if isGone(resource) { removals.append((now, resource, false)) }
      }
    }
    letGo()
    let base = before
    for cluster in rules.clusters where gate(cluster.name) == nil {
      let mine = removals.indices.filter { index in
        !removals[index].isVoid && index >= marks[cluster.name] ?? 0 && index >= forgotten
          && rules.isVisible(ResourceFacts(removals[index].resource), class: cluster.classIndex)
      }
      guard mine.contains(where: { $0 >= first }) else { continue }
      var (lost, had) = ([TypeName: Int](), [TypeName: Int]())
      for index in mine { lost[removals[index].resource.type, default: 0] += 1 }
      let sees = cut(newest, cluster)
      for type in Samples.types { had[type] = (sees[type]?.count ?? 0) + (lost[type] ?? 0) }
      guard isTooMuch(lost, of: had) else { continue }
      let passed = mine.filter { $0 < first }.map { removals[$0].resource }
      var kept = Kept(
        kind: .held, content: base, passed: Set(passed.map { "\($0.type.kind) \($0.wireName)" }))
      Model.erase(change.revoked, &kept.content)
      held[cluster.name] = kept
    }
    return []
  }

  /// Removals before this one are older than the window.
  private var forgotten = 0

  private mutating func note(returned resource: Resource) {
    last[resource.type]?[resource.wireName] = nil
    for index in removals.indices
    where removals[index].resource.wireName == resource.wireName
      && removals[index].resource.type == resource.type
    {
      removals[index].isVoid = true
    }
  }

  private static func erase(_ revoked: [Merge.Revocation], _ content: inout Content) {
    content = content.mapValues { $0.filter { _, resource in !revoked.contains { $0.covers(resource) } } }
  }

  private mutating func erase(_ revoked: [Merge.Revocation]) {
    func erased(_ kept: Kept) -> Kept {
      var kept = kept
      Model.erase(revoked, &kept.content)
      for one in revoked { kept.passed.subtract(one.names.map { "\(one.type.kind) \($0)" }) }
      return kept
    }
    own = own.mapValues(erased)
    held = held.mapValues(erased)
    all = all.map(erased)
  }

  private mutating func letGo() {
    for (name, gate) in held {
      guard let cluster = rules.clusters.first(where: { $0.name == name }), !wouldLoseTooMuch(gate, cluster)
      else { continue }
      held[name] = nil
      marks[name] = removals.count
    }
  }

  mutating func replace(_ next: PolicyRules) -> [String] {
    rules = next
    held = held.filter { name, _ in rules.clusters.contains { $0.name == name } }
    letGo()
    return []
  }

  /// False: it is refused.
  mutating func perform(_ command: GateCommand, _ now: Timestamp) -> Bool {
    func isKnown(_ name: String) -> Bool { rules.clusters.contains { $0.name == name } }
    func keep(_ kind: Gate.Kind, _ content: KeptContent) -> Kept {
      Kept(kind: kind, content: Model.plain(content.collections))
    }
    switch command {
    case .pin(let name, let content):
      guard isKnown(name) else { return false }
      own[name] = keep(.pinned, content)
      held[name] = nil
    case .unpin(let name):
      guard own[name]?.kind == .pinned else { return false }
      end([name]) { $0.own[name] = nil }
    case .rollBack(let content, nil):
      own = own.filter { $0.value.kind == .pinned }
      held = [:]
      thawed = []
      all = keep(.rolledBack, content)
    case .rollBack(let content, let name?):
      guard isKnown(name), own[name]?.kind != .pinned else { return false }
      own[name] = keep(.rolledBack, content)
      held[name] = nil
    case .freeze(nil):
      guard all == nil else { return false }
      thawed = []
      all = Kept(kind: .frozen, content: newest)
    case .freeze(let name?):
      guard isKnown(name), own[name] == nil, all == nil || thawed.contains(name) else { return false }
      var kept = held.removeValue(forKey: name) ?? Kept(kind: .frozen, content: newest)
      kept.kind = .frozen
      own[name] = kept
    case .thaw(nil):
      let single = own.filter { $0.value.kind != .pinned }.map(\.key)
      guard all != nil || !single.isEmpty else { return false }
      end(all == nil ? single : rules.clusters.map(\.name)) { model in
        model.own = model.own.filter { $0.value.kind == .pinned }
        model.all = nil
        model.thawed = []
      }
    case .thaw(let name?):
      guard isKnown(name) || own[name] != nil, own[name]?.kind != .pinned else { return false }
      guard own[name] != nil || (all != nil && !thawed.contains(name)) else { return false }
      end([name]) { model in
        model.own[name] = nil
        if model.all != nil { model.thawed.insert(name) }
      }
    case .release(let name, let type):
      guard var gate = held[name], let cluster = rules.clusters.first(where: { $0.name == name }) else {
        return false
      }
      if let type {
        guard losses(gate, cluster).lost[type] ?? 0 > 0 else { return false }
        gate.released.insert(type)
        held[name] = gate
        if wouldLoseTooMuch(gate, cluster) { return true }
      }
      held[name] = nil
      marks[name] = removals.count
    }
    return true
  }

  private mutating func end(_ names: [String], _ change: (inout Model) -> Void) {
    let before = names.map { gate($0) }
    change(&self)
    for (name, kept) in zip(names, before) where gate(name) == nil {
      guard var kept, let cluster = rules.clusters.first(where: { $0.name == name }) else { continue }
      if wouldLoseTooMuch(kept, cluster) {
        kept.kind = .held
        held[name] = kept
      } else {
        marks[name] = removals.count
      }
    }
  }
}

/// Objects and rules of the histories.
private enum Samples {
  static let types = [
    TypeName(group: "networking.istio.io", kind: "VirtualService"),
    TypeName(group: "networking.istio.io", kind: "Gateway"),
  ]

  private static let files = [
    """
    clusters:
      - {name: a, identities: ["spiffe://example.org/a"], allow: [{namespaces: [foo, bar]}]}
      - {name: b, identities: ["spiffe://example.org/b"], allow: [{namespaces: ["f*"], labels: "!draft"}]}
      - {name: c, identities: ["spiffe://example.org/c"], allow: [{}], deny: [{names: ["r1*"]}], redact: {labels: [dr*]}}
      - {name: d, identities: ["spiffe://example.org/d"], allow: [{namespaces: [foo, bar]}]}
    """,
    """
    clusters:
      - {name: a, identities: ["spiffe://example.org/a"], allow: [{namespaces: [bar]}]}
      - {name: c, identities: ["spiffe://example.org/c"], allow: [{namespaces: ["*"], labels: "!draft"}], redact: {annotations: ["x/*"]}}
      - {name: d, identities: ["spiffe://example.org/d"], allow: [{namespaces: [foo], sources: [central]}], redact: {annotations: ["x/*"]}}
    """,
    """
    clusters:
      - {name: a, identities: ["spiffe://example.org/a"], allow: [{namespaces: [foo, bar, baz]}]}
      - {name: b, identities: ["spiffe://example.org/b"], allow: [{namespaces: ["*"]}]}
      - {name: c, identities: ["spiffe://example.org/c"], allow: [{}], redact: {labels: ["*"], annotations: ["x/*", "y"]}}
      - {name: d, identities: ["spiffe://example.org/d"], allow: [{namespaces: [foo, bar, baz]}]}
    """,
  ]

  static func rules(_ index: Int) throws -> PolicyRules {
    let parsed = PolicyRules.parse(files[index], file: "policy.yaml")
    return try #require(parsed.rules, "\(parsed.problems)")
  }

  static func fill(_ type: TypeName, _ source: String, _ generator: inout SeededGenerator) -> [Resource] {
    (0..<18).map { _ in resource(type, source, &generator) }
  }

  static func resource(
    _ type: TypeName, _ source: String, _ generator: inout SeededGenerator
  ) -> Resource {
    let draft = ResourceDraft(
      namespace: ["foo", "bar", "baz"][Int.random(in: 0..<3, using: &generator)],
      name: "r\(Int.random(in: 0..<12, using: &generator))",
      labels: Int.random(in: 0..<5, using: &generator) == 0 ? [("draft", "1")] : [],
      annotations: ["x/a", "x/b", "y", "z"].compactMap { key in
        Int.random(in: 0..<3, using: &generator) == 0
          ? (key, "\(Int.random(in: 0..<2, using: &generator))") : nil
      },
      createTime: Timestamp(seconds: 1), bodyMessage: Kinds[type]?.bodyMessage ?? "",
      body: [UInt8.random(in: 0..<3, using: &generator)], source: source)
    return admit(type, draft)
  }

  private static func admit(_ type: TypeName, _ draft: ResourceDraft) -> Resource {
    do {
      return try Admission.admit(type: type, draft: draft, limits: Limits())
    } catch {
      preconditionFailure("a sample is not admitted: \(error)")
    }
  }

  /// The object as if its source had never written what is hidden, admitted anew.
  static func redacted(_ resource: Resource, _ redaction: Redaction?) -> Resource {
    guard let redaction else { return resource }
    return admit(
      resource.type,
      ResourceDraft(
        namespace: resource.namespace, name: resource.name,
        labels: resource.labels.filter { !redaction.hides(label: $0.key) },
        annotations: resource.annotations.filter { !redaction.hides(annotation: $0.key) },
        createTime: resource.createTime, bodyMessage: resource.bodyMessage, body: resource.body,
        source: resource.source))
  }
}
