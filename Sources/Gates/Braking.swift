// What the brake decides: which clusters it holds, and which it lets go again.
//
// An open cluster is judged when sources removed something it saw: what it lost within the window against what
// it had. A held one is judged at every publication, and time has no say in that: what would go, with what had
// gone before it was held, against what it has. Pure.

internal import Policy
internal import Primitives
internal import Snapshots

extension Publisher {
  /// Holds those open clusters of `classes` that have lost too much. `before`: what the classes saw of `base`.
  mutating func hold(
    _ classes: Set<Int>, at base: Snapshot, _ before: [[TypeName: Collection]], removalsFrom first: UInt64,
    erasing revoked: [Merge.Revocation], now: Timestamp
  ) {
    var number: UInt64?
    let erased = base.erasing(revoked)
    for candidate in classes.sorted() {
      for cluster in rules.classes[candidate].clusters.map({ rules.clusters[$0].name })
      where gates.gate(for: cluster) == nil {
        let mark = validMark(of: cluster)
        guard let reason = brake.objection(to: lateLosses(of: candidate, from: mark)) else { continue }
        let gateNumber = number ?? takeNumber()
        number = gateNumber
        var gate = Gate(
          kind: .held, base: erased ?? base, version: base.version, since: now, reason: reason,
          passed: ledger.names(lostBy: candidate, from: mark ?? 0, upTo: first, rules))
        gate.number = gateNumber
        gates.held[cluster] = gate
        let key = KeptViews.Key(classIndex: candidate, gate: gateNumber)
        if kept[key] == nil, erased == nil { kept.set(key, shown(before[candidate], candidate)) }
        events.append(.held(cluster: cluster, version: gate.version, reason: reason))
      }
    }
  }

  /// What a class saw, without what it may not see any more as that is now.
  private func shown(_ before: [TypeName: Collection], _ candidate: Int) -> [TypeName: Collection] {
    var result = before
    for (type, collection) in before {
      let lost = Collection.difference(from: collection, to: views[candidate][type] ?? .empty).removed
      let hidden = lost.filter { newest.collections[type]?.contains($0) == true }
      if !hidden.isEmpty { result[type] = collection.applying(upserts: [], removals: hidden) }
    }
    return result
  }

  /// Lets go those held clusters that would no longer lose too much.
  mutating func letGo() {
    for (cluster, gate) in gates.held.sorted(by: { $0.key < $1.key }) {
      guard let found = rules.cluster(named: cluster),
        brake.objection(to: losses(behind: gate, class: found.classIndex)) == nil
      else { continue }
      open(cluster, gate, class: found.classIndex, released: gate.releasedTypes)
      events.append(.letGo(cluster: cluster))
    }
  }

  /// Ends a hold. Removals of `released` types are the operator's from now on; nil means all types.
  mutating func open(_ cluster: String, _ gate: Gate, class candidate: Int, released: Set<TypeName>?) {
    for (type, before) in cut(gate, class: candidate) where released?.contains(type) ?? true {
      let lost = Collection.difference(from: before, to: views[candidate][type] ?? .empty).removed
        .filter { isGoneBySource($0, type) }
      if !lost.isEmpty { causes[candidate].record(.released, type: type, names: lost) }
    }
    gates.held[cluster] = nil
    marks[cluster] = ledger.next
  }

  /// What a cluster would lose if its gate opened: removed by sources, and not let pass by an operator.
  mutating func losses(behind gate: Gate, class candidate: Int) -> Losses {
    let cut = cut(gate, class: candidate)
    var losses = Losses()
    for type in Set(cut.keys).union(gate.passed.keys) where !gate.releasedTypes.contains(type) {
      let before = cut[type] ?? .empty
      let after = views[candidate][type] ?? .empty
      let lost = Collection.difference(from: before, to: after).removed.count { isGoneBySource($0, type) }
      let passed = (gate.passed[type] ?? []).count { !before.contains($0) && isGoneBySource($0, type) }
      if lost + passed > 0 { losses.byType[type] = .init(count: lost + passed, of: before.count + passed) }
    }
    return losses
  }

  /// What an open cluster lost within the window.
  private func lateLosses(of candidate: Int, from mark: UInt64?) -> Losses {
    let counts =
      mark.map { ledger.names(lostBy: candidate, from: $0, upTo: ledger.next, rules).mapValues(\.count) }
      ?? ledger.counts(of: candidate)
    var losses = Losses()
    for (type, count) in counts {
      losses.byType[type] = .init(count: count, of: count + (views[candidate][type]?.count ?? 0))
    }
    return losses
  }

  /// Nil when everything in the ledger counts for this cluster.
  private mutating func validMark(of cluster: String) -> UInt64? {
    guard let mark = marks[cluster] else { return nil }
    if ledger.remembers(before: mark) { return mark }
    marks[cluster] = nil
    return nil
  }
}
