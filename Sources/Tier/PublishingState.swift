// What the publisher's desk knows of sources beside their objects: where they stand, and whose word a removal is.

import Gates
import Policy
import Primitives
import Snapshots
import Store

extension PublishingDesk.State {
  mutating func note(_ update: SourceUpdate) {
    if var position = update.position {
      // A replica that is behind may still have newest content of this type: what was heard stays heard.
      if let heard = positions[update.source], heard.origin == position.origin,
        heard.sequence > position.sequence
      {
        (position.sequence, position.published) = (heard.sequence, heard.published)
      }
      positions[update.source] = position
    }
    guard let content = update.content, let type = update.type else { return }
    standings[update.source, default: [:]][type] = content
  }

  /// An update, in which what goes is told apart: an object that its source would not grant any more went by policy,
  /// whoever removed it first.
  func byCause(_ update: SourceUpdate) -> [SourceUpdate] {
    guard update.removals == .source, case .change(let type, let upserts, let removals) = update.kind,
      !removals.isEmpty
    else { return [update] }
    let held = merge.held(by: update.source)[type] ?? .empty
    let ended = Set(removals.filter { name in held[name].map { !publisher.mayHave($0) } ?? false })
    guard !ended.isEmpty else { return [update] }
    var rest = update
    rest.kind = .change(type, upserts: upserts, removals: removals.filter { !ended.contains($0) })
    return [
      SourceUpdate(
        source: update.source, kind: .change(type, upserts: [], removals: ended.sorted()), removals: .policy),
      rest,
    ]
  }

  func snapshot(_ me: PathElement) -> Snapshot { merge.snapshot(at: position, typePositions(me)) }

  /// Where types stand: where the most preferred source that has answered for them does. An origin's own
  /// numbers hold for all of its types.
  private func typePositions(_ me: PathElement) -> [TypeName: Position] {
    guard case .relayed = truth else { return [:] }
    var found: [TypeName: Position] = [:]
    for source in order.reversed() { found.merge(standings[source] ?? [:]) { _, preferred in preferred } }
    return found.mapValues { $0.passed(by: me) }
  }
}

extension SourceMark {
  /// Where its types stand. A release that knew only where a source stands as a whole left no more than that.
  func standings(of types: some Sequence<TypeName>) -> [TypeName: Position] {
    guard positions.isEmpty, let position else { return positions }
    return Dictionary(uniqueKeysWithValues: types.map { ($0, position) })
  }
}

extension PublishReport {
  mutating func note(_ change: Merge.Change, of source: String) {
    conflicts += change.conflicts
    if !change.setAside.isEmpty { setAside[source, default: []] += change.setAside }
  }

  mutating func fill(from merge: Merge, _ order: [String]) {
    pendingTypes = merge.pendingTypes
    isComplete = merge.isComplete
    for source in order {
      resources[source] = merge.held(by: source).values.reduce(0) { $0 + $1.count }
    }
  }
}

extension Merge.Change {
  /// This change followed by another one. Steps stay in order; the publisher applies them so.
  mutating func append(_ next: Merge.Change) {
    types += next.types
    revoked += next.revoked
    readinessChanged = readinessChanged || next.readinessChanged
  }
}
