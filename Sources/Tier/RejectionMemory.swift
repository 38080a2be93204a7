// What an upstream had set aside, as status shows it: an object stays set aside until the upstream says
// something else of it, however often the same is repeated.

import Snapshots

struct RejectionMemory {
  private var byType: [TypeName: [Rejection]] = [:]

  /// Most objects remembered of one type. Reason: 200 bytes each; an upstream can name new ones without end.
  private static let objectsMost = 10_000

  /// By type, then in the order they came.
  var all: [Rejection] { byType.sorted { $0.key < $1.key }.flatMap(\.value) }

  /// Returns what was not known before.
  mutating func take(_ update: SourceUpdate) -> [Rejection] {
    let type: TypeName
    var kept: [Rejection] = []
    switch update.kind {
    case .replace(let replaced, _): type = replaced
    case .change(let changed, let upserts, let removals):
      type = changed
      if !update.isWhole {
        let mended = (upserts.map(\.wireName) + removals).map { "\(changed) \($0)" }
        let said = Set(mended + update.rejected.map(\.resource))
        kept = byType[type, default: []].filter { !said.contains($0.resource) }
      }
    case .complete: return []
    }
    let known = byType[type, default: []]
    byType[type] = Array((kept + update.rejected).suffix(RejectionMemory.objectsMost))
    return update.rejected.filter { !known.contains($0) }
  }
}
