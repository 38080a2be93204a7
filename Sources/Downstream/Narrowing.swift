// Whether a new view takes something away that its clients may no longer have. Asked once for each pair of
// views and generation, however many clients are served from them.

import Gates
import Snapshots

/// The step from one generation to the next, as far as it ends grants.
struct NarrowingSearch {
  private struct Pair: Hashable {
    let before: Int
    let after: Int
  }

  private let previous: Generation
  private let next: Generation
  private var known: [Pair: Bool] = [:]

  init(from previous: Generation, to next: Generation) {
    self.previous = previous
    self.next = next
  }

  /// For a client that was served class `before` and is served class `after` now.
  mutating func narrows(from before: Int, to after: Int) -> Bool {
    let pair = Pair(before: before, after: after)
    if let found = known[pair] { return found }
    let found = NarrowingSearch.narrows(from: previous.views[before], to: next.views[after])
    known[pair] = found
    return found
  }

  private static func narrows(from old: View, to new: View) -> Bool {
    new.endsMoreGrants(than: old)
      || old.collections.contains { type, before in
        Collection.difference(from: before, to: new.collections[type] ?? .empty).removed.contains { name in
          new.removalCause(of: name, type: type) == .policy
        }
      }
  }
}
