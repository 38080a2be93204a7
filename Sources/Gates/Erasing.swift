// Taking out of kept content what may no longer be shown.

public import Snapshots

extension [TypeName: Collection] {
  /// Names by type that the revocations mean and this content has.
  func names(of revoked: [Merge.Revocation]) -> [TypeName: Set<String>] {
    var names: [TypeName: Set<String>] = [:]
    for revocation in revoked {
      guard let collection = self[revocation.type] else { continue }
      let meant =
        revocation.namespaces.isEmpty
        ? revocation.names.filter { collection[$0]?.source == revocation.source }
        : Set(collection.resources.filter(revocation.covers).map(\.wireName))
      if !meant.isEmpty { names[revocation.type, default: []].formUnion(meant) }
    }
    return names
  }

  func without(_ names: [TypeName: Set<String>]) -> [TypeName: Collection] {
    var result = self
    for (type, gone) in names {
      result[type] = result[type]?.applying(upserts: [], removals: [String](gone))
    }
    return result
  }
}

extension KeptContent {
  /// This content without what sources may no longer let us have.
  public func erasing(_ revoked: [Merge.Revocation]) -> KeptContent {
    KeptContent(version: version, collections: collections.without(collections.names(of: revoked)))
  }

  /// This content without what no source may supply any more.
  public func restricted(to admits: (Resource) -> Bool) -> KeptContent {
    let restricted = collections.mapValues { collection in
      let gone = collection.resources.filter { !admits($0) }.map(\.wireName)
      return gone.isEmpty ? collection : collection.applying(upserts: [], removals: gone)
    }
    return KeptContent(version: version, collections: restricted)
  }
}

extension Snapshot {
  /// This snapshot without what a source may no longer let us have; who still has it is told that policy
  /// takes it away. Nil when it has none of it.
  func erasing(_ revoked: [Merge.Revocation]) -> Snapshot? {
    let names = collections.names(of: revoked)
    guard !names.isEmpty else { return nil }
    return erasing(names, because: .policy)
  }

  func erasing(_ names: [TypeName: Set<String>], because cause: RemovalCause) -> Snapshot {
    var causes = removalCauses
    for (type, gone) in names { causes.record(cause, type: type, names: Array(gone)) }
    return Snapshot(
      collections: collections.without(names), pending: pending, isComplete: isComplete, position: position,
      positions: positions, removalCauses: causes)
  }
}
