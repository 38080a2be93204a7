// What a keeper of collections must write to follow one: more than a client is told, since it also
// keeps who supplied an object and since when it exists.

extension Collection {
  /// What leads from `old` to `new` in everything that can be seen, source and creation time included.
  /// Chunks that both share are passed over, so the cost is that of the change. Sorted by wire name.
  public static func edits(
    from old: Collection, to new: Collection
  ) -> (upserts: [Resource], removals: [String]) {
    let before = Set(old.chunks.map { ObjectIdentifier($0) })
    let after = Set(new.chunks.map { ObjectIdentifier($0) })
    let left = old.chunks.filter { !after.contains(ObjectIdentifier($0)) }.flatMap(\.resources)
    let entered = new.chunks.filter { !before.contains(ObjectIdentifier($0)) }.flatMap(\.resources)
    let held = Dictionary(uniqueKeysWithValues: left.map { ($0.wireName, $0) })
    let present = Set(entered.map(\.wireName))
    return (
      entered.filter { held[$0.wireName]?.isInterchangeable(with: $0) != true },
      left.map(\.wireName).filter { !present.contains($0) }
    )
  }
}
