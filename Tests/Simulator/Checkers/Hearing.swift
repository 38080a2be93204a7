// What every checker is told of one answer, and what a checker is.

import Primitives

/// One answer, who got it, and under which policies it may have been made.
struct Hearing {
  let client: String
  let cluster: String
  let dialect: TalkDialect
  /// Counts this client's streams.
  let stream: Int
  let edge: String
  let answer: Answer
  let isAccepted: Bool
  /// Everything that was in force at the edge since the stream was asked for; the newest last.
  let grants: [Grants]
  let truth: Truth

  /// The namespaces the client may see under each of these policies, the tiers above taken into account.
  var visible: [Set<String>] {
    let passedOn = Grants.region.visible(to: "edge") ?? []
    return grants.compactMap { $0.visible(to: cluster)?.intersection(passedOn) }
  }

  var kind: SimulatedKind? { SimulatedKind(typeURL: answer.typeURL) }
}

/// Looks at answers; a finding is a broken promise in a sentence.
protocol Checker {
  mutating func hear(_ hearing: Hearing) -> [String]
}

extension String {
  /// `ns` of `ns/name`.
  var namespace: String { String(prefix { $0 != "/" }) }
}
