// No partial, mixed or accidentally empty answer: what a client holds of a type after an answer is what the
// truth held at one moment, cut by one policy, and never of an earlier moment than before.

import Snapshots

struct WholenessChecker: Checker {
  private struct Place: Hashable {
    let client: String
    /// The process that answered: a relay that restarts may learn an older state from its upstream first.
    let instance: String
    let kind: SimulatedKind
  }

  /// The earliest moment of the truth that the newest answer can be of.
  private var floors: [Place: Int] = [:]

  mutating func hear(_ hearing: Hearing) -> [String] {
    let answer = hearing.answer
    guard let kind = hearing.kind else {
      return answer.after.isEmpty ? [] : ["\(hearing.client) got something of an unknown type"]
    }
    var set: [String: Int] = [:]
    for (name, object) in answer.after {
      guard let revision = object.revision else {
        return ["\(hearing.client) got \(name) with a body that is another's"]
      }
      set[name] = revision
    }
    guard answer.isExact else { return [] }
    // On its way from one moment to another; what it happens to look like proves nothing.
    if answer.controlPlane?.isPartial == true { return taken(hearing) }
    let place = Place(
      client: hearing.client,
      instance: answer.controlPlane?.position.path.last?.instance ?? "stream \(hearing.stream)", kind: kind)
    let floor = floors[place, default: 1]
    if let moment = moment(of: set, kind, hearing, notBefore: floor) {
      floors[place] = moment
      return []
    }
    if answer.controlPlane?.removals == .policy { return taken(hearing) }
    if !hearing.dialect.hasControlPlane, isWithdrawal(answer) { return [] }
    let older = moment(of: set, kind, hearing, notBefore: 1)
    let what = older.map { "of moment \($0), after one of moment \(floor)" } ?? "that never was the truth"
    return ["\(hearing.client) holds a set of \(kind.rawValue) \(what): \(WholenessChecker.text(set))"]
  }

  private func moment(
    of set: [String: Int], _ kind: SimulatedKind, _ hearing: Hearing, notBefore floor: Int
  ) -> Int? {
    let states = hearing.truth.states
    return states.indices.dropFirst(floor).first { index in
      hearing.visible.contains { Truth.cut(states[index], kind, $0) == set }
    }
  }

  /// Classic answers do not say why: one that takes something away and brings nothing is of the same kind.
  private func isWithdrawal(_ answer: Answer) -> Bool {
    answer.after.count < answer.before.count && answer.after.allSatisfy { answer.before[$0.key] == $0.value }
  }

  /// A grant that ends is taken back at once, before whatever else is new: such an answer takes away and
  /// brings nothing that was not there.
  private func taken(_ hearing: Hearing) -> [String] {
    let answer = hearing.answer
    guard !answer.isWhole, !answer.upserts.isEmpty else { return [] }
    return ["\(hearing.client) got new objects in an answer that takes a grant back"]
  }

  private static func text(_ set: [String: Int]) -> String {
    set.isEmpty
      ? "nothing" : set.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: " ")
  }
}
