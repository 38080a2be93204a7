// What operators decide: pin, roll back, freeze, and the ends of those; release of what the brake holds.
//
// A command takes effect whole or not at all. What an operator puts in place of something newer passes at every
// tier below (`released`). The end of a gate is no word on what sources removed meanwhile: the brake judges that
// step as it judges any other.

internal import Policy
public import Primitives
public import Snapshots

extension Publisher {
  /// Carries out a command and publishes what follows from it. `snapshot` is the newest as it stands from now on:
  /// the same content, maybe at a newer position. An error changes nothing.
  public mutating func perform(
    _ command: GateCommand, snapshot: Snapshot, now: Timestamp
  ) throws(GateError) -> Publication {
    guard !newest.collections.isEmpty || !gates.isEmpty else { throw .nothingToKeep }
    var next = self
    next.newest = snapshot
    try next.decide(command, now)
    self = next
    return publish(nil)
  }

  private mutating func decide(_ command: GateCommand, _ now: Timestamp) throws(GateError) {
    switch command {
    case .pin(let cluster, let content):
      try check(cluster)
      gates.own[cluster] = gate(.pinned, content, now)
      gates.held[cluster] = nil
    case .unpin(let cluster):
      try checkKnownOrKept(cluster)
      guard gates.own[cluster]?.kind == .pinned else { throw .notPinned(cluster) }
      end(gatesOf: [cluster], now) { $0.own[cluster] = nil }
    case .rollBack(let content, nil):
      gates.own = gates.own.filter { $0.value.kind == .pinned }
      gates.held = [:]
      gates.thawed = []
      gates.all = gate(.rolledBack, content, now)
    case .rollBack(let content, let cluster?):
      try check(cluster)
      if gates.own[cluster]?.kind == .pinned { throw .isPinned(cluster) }
      gates.own[cluster] = gate(.rolledBack, content, now)
      gates.held[cluster] = nil
    case .freeze(let cluster): try freeze(cluster, now)
    case .thaw(let cluster): try thaw(cluster, now)
    case .release(let cluster, let type): try release(cluster, type)
    }
  }

  private func check(_ cluster: String) throws(GateError) {
    guard rules.cluster(named: cluster) == nil else { return }
    throw .noSuchCluster(cluster, known: rules.clusters.map(\.name))
  }

  /// A gate outlives its cluster, for the cluster may come back; it can be ended meanwhile.
  private func checkKnownOrKept(_ cluster: String) throws(GateError) {
    if gates.own[cluster] == nil { try check(cluster) }
  }

  private mutating func gate(_ kind: Gate.Kind, _ content: KeptContent, _ now: Timestamp) -> Gate {
    let base = Snapshot(
      collections: content.collections, pending: newest.pending, isComplete: newest.isComplete,
      position: newest.position)
    var gate = Gate(
      kind: kind, base: base, version: content.version, since: now, reason: "by an operator")
    gate.number = takeNumber()
    return gate
  }

  private mutating func freeze(_ cluster: String?, _ now: Timestamp) throws(GateError) {
    if let cluster { try check(cluster) }
    if let all = gates.all, cluster.map({ !gates.thawed.contains($0) }) ?? true {
      throw .alreadyKept(cluster: nil, all.kind)
    }
    var gate = Gate(
      kind: .frozen, base: newest, version: newest.version, since: now, reason: "by an operator")
    gate.number = takeNumber()
    guard let cluster else {
      gates.thawed = []
      gates.all = gate
      return
    }
    if let own = gates.own[cluster] {
      throw own.kind == .pinned ? .isPinned(cluster) : .alreadyKept(cluster: cluster, own.kind)
    }
    if var held = gates.held.removeValue(forKey: cluster) {
      // What is served now is what was held.
      held.kind = .frozen
      held.since = now
      held.reason = gate.reason
      gate = held
    }
    gates.own[cluster] = gate
  }

  private mutating func thaw(_ cluster: String?, _ now: Timestamp) throws(GateError) {
    guard let cluster else {
      let single = gates.own.filter { $0.value.kind != .pinned }.map(\.key)
      guard gates.all != nil || !single.isEmpty else { throw .nothingToThaw(cluster: nil) }
      end(gatesOf: gates.all == nil ? single : rules.clusters.map(\.name), now) { book in
        book.own = book.own.filter { $0.value.kind == .pinned }
        book.all = nil
        book.thawed = []
      }
      return
    }
    try checkKnownOrKept(cluster)
    switch gates.own[cluster]?.kind {
    case .pinned: throw .isPinned(cluster)
    case .frozen, .rolledBack:
      end(gatesOf: [cluster], now) { book in
        book.own[cluster] = nil
        if book.all != nil { book.thawed.insert(cluster) }
      }
    case .held, nil:
      guard gates.all != nil, !gates.thawed.contains(cluster) else {
        throw .nothingToThaw(cluster: cluster)
      }
      end(gatesOf: [cluster], now) { $0.thawed.insert(cluster) }
    }
  }

  private mutating func release(_ cluster: String, _ type: TypeName?) throws(GateError) {
    try check(cluster)
    guard var gate = gates.held[cluster], let found = rules.cluster(named: cluster) else {
      throw .notHeld(cluster)
    }
    guard let type else {
      open(cluster, gate, class: found.classIndex, released: nil)
      return
    }
    let all = losses(behind: gate, class: found.classIndex)
    guard all.byType[type] != nil else {
      throw .notHeldBack(
        cluster, type, isReleased: gate.releasedTypes.contains(type), held: all.words)
    }
    gate.releasedTypes.insert(type)
    guard let reason = brake.objection(to: losses(behind: gate, class: found.classIndex)) else {
      open(cluster, gate, class: found.classIndex, released: gate.releasedTypes)
      return
    }
    gate.reason = reason
    gates.held[cluster] = gate
    events.append(.held(cluster: cluster, version: gate.version, reason: reason))
  }

  /// Takes gates away. Of the clusters that are open then, the brake holds those that would lose too much.
  private mutating func end(
    gatesOf clusters: [String], _ now: Timestamp, _ change: (inout GateBook) -> Void
  ) {
    let before = clusters.map { gates.gate(for: $0) }
    change(&gates)
    var numbers: [UInt64: UInt64] = [:]
    for (name, gate) in zip(clusters, before) where gates.gate(for: name) == nil {
      guard let gate, let cluster = rules.cluster(named: name) else { continue }
      guard let reason = brake.objection(to: losses(behind: gate, class: cluster.classIndex)) else {
        marks[name] = ledger.next
        continue
      }
      var hold = gate
      hold.kind = .held
      hold.base = gate.served(beside: newest)
      hold.since = now
      hold.reason = reason
      hold.number = numbers[gate.number] ?? takeNumber()
      numbers[gate.number] = hold.number
      gates.held[name] = hold
      kept.copy(
        .init(classIndex: cluster.classIndex, gate: gate.number),
        to: .init(classIndex: cluster.classIndex, gate: hold.number))
      events.append(.held(cluster: name, version: hold.version, reason: reason))
    }
  }
}
