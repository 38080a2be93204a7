// What a client has refused is never sent to it again on the same stream.

struct RefusalChecker: Checker {
  private struct Content: Hashable {
    let client: String
    let stream: Int
    let typeURL: String
    /// Empty for a whole set.
    let name: String
    let version: String
  }

  private var refused: Set<Content> = []

  mutating func hear(_ hearing: Hearing) -> [String] {
    let contents = contents(of: hearing)
    let again = contents.filter { refused.contains($0) }
    if !hearing.isAccepted { refused.formUnion(contents) }
    return again.map { "\(hearing.client) got \($0.typeURL) \($0.name) again, which it had refused" }
  }

  private func contents(of hearing: Hearing) -> [Content] {
    let answer = hearing.answer
    func content(_ name: String, _ version: String) -> Content {
      Content(
        client: hearing.client, stream: hearing.stream, typeURL: answer.typeURL, name: name,
        version: version)
    }
    guard hearing.dialect.takesChanges else { return [content("", answer.version)] }
    return answer.upserts.map { content($0.key, $0.value.version) }.sorted { $0.name < $1.name }
  }
}
