// A position that outlives the process that gave it.

extension Position {
  /// This position, stored by an earlier process of the same relay, as `element` serves it on: the last
  /// element of its path was ourselves under an older instance.
  public func resumed(by element: PathElement) -> Position {
    var next = self
    if !next.path.isEmpty { next.path.removeLast() }
    return next.passed(by: element)
  }
}
