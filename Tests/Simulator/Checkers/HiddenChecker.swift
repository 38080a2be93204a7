// No client ever receives what its policy hides, not even the name of it.

struct HiddenChecker: Checker {
  func hear(_ hearing: Hearing) -> [String] {
    guard !hearing.visible.isEmpty else {
      return [
        "\(hearing.cluster) has no place at \(hearing.edge) and got an answer for \(hearing.answer.typeURL)"
      ]
    }
    let allowed = hearing.visible.reduce(into: Set<String>()) { $0.formUnion($1) }
    let shown = hearing.answer.upserts.keys.filter { !allowed.contains($0.namespace) }.sorted()
    // A removal tells that the object exists, or did: only to those who held it.
    let told =
      hearing.answer.isExact
      ? hearing.answer.removed.filter { hearing.answer.before[$0] == nil }.sorted() : []
    return shown.map { "\(hearing.client) got \($0), which its policy hides" }
      + told.map { "\(hearing.client) was told that \($0) is gone, which it never had" }
  }
}
