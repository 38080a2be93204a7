// What a publication says in the audit log: each view that changed, once, with the names that came, changed and
// went, and the clusters that see it. `deliver` and `ack` refer to it by type and version.

import Audit
import Gates
import Policy
import Primitives
import Snapshots

extension Publication {
  /// Records of all views that changed. Views that took the same step share one. `isBrief`: without names, for a log
  /// that cannot be written and has very much waiting.
  func records(reason: String, isBrief: Bool = false, now: Timestamp) -> AuditBatch {
    var batch = AuditBatch()
    var open = changes[...]
    // Sorted by class: equal steps of different classes lie apart, so that they are collected by content.
    var order: [Step] = []
    var clustersOf: [Step: [Int]] = [:]
    while let change = open.popFirst() {
      let step = Step(change)
      if clustersOf[step] == nil { order.append(step) }
      clustersOf[step, default: []] += change.clusters
    }
    for step in order {
      let clusters = clustersOf[step] ?? []
      var record = AuditRecord(
        .publish, type: step.type.description, version: step.version.description,
        sequence: generation.snapshot.position.sequence,
        reason: isBrief ? reason + "; names are left out: the log could not be written" : reason)
      let namesMost = isBrief ? 0 : NameList.namesMost
      record.clusters = NameList(clusters.sorted().map { generation.rules.clusters[$0].name })
      record.added = NameList(step.added, most: namesMost)
      record.changed = NameList(step.changed, most: namesMost)
      record.removed = NameList(step.removed, most: namesMost)
      batch.append(record, at: now)
    }
    return batch
  }

  /// A change without the class that it happened to.
  private struct Step: Hashable {
    let type: TypeName
    let version: Version
    let added: [String]
    let changed: [String]
    let removed: [String]

    init(_ change: ViewChange) {
      type = change.type
      version = change.version
      added = change.added
      changed = change.changed
      removed = change.removed
    }

    /// Steps of equal target and size are mostly equal: names need not be hashed.
    func hash(into hasher: inout Hasher) {
      hasher.combine(type)
      hasher.combine(version)
      hasher.combine(added.count)
      hasher.combine(changed.count)
      hasher.combine(removed.count)
    }
  }
}
