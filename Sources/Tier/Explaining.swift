// `explain` of a running relay: which rule decides, and what else stands between an object and its client: a gate, a
// source that set it aside, a tier above that does not grant it. Costs a lookup, however large the snapshot is.

import Admin
import Downstream
import Gates
import Policy
import Primitives
import SPIFFE
import Snapshots

extension ControlLoop {
  func explain(as id: SPIFFEID, type typeName: TypeName, name: String) -> AdminReply {
    let generation = crossings.generation.value
    let newest = generation?.snapshot.collections[typeName]?[name]
    let served = generation?.view(for: id)?.collections[typeName]?[name]
    let rules = generation?.rules ?? rules
    var explanation = rules.explanation(
      of: newest ?? served, type: typeName, name: name, as: id, absence: absence(of: typeName, name))
    if newest != nil, let rejection = rejection(of: "\(typeName) \(name)") {
      explanation.reason += "; a form of it was set aside at \(rejection.place): \(rejection.reason)"
    }
    if let generation, let gate = gate(before: id, in: generation) {
      explanation.behind(gate, newest: newest, served: served)
    }
    if let staleness = staleRules(rules) { explanation.reason += "; " + staleness }
    return .json(explanation.json)
  }

  /// What explains that the places of rules are not those of the files as they are now; nil when they are.
  func staleRules(_ rules: PolicyRules) -> String? {
    guard policyStatus.state != .current, let loadedAt = policyStatus.loadedAt, !rules.files.isEmpty else {
      return nil
    }
    return
      "places are those of the policy in force, loaded at \(loadedAt.rfc3339), and not of the files as they are "
      + "now, which were refused"
  }

  /// Why there is no such object, as far as that is known; nil when nothing more is known.
  private func absence(of type: TypeName, _ name: String) -> String? {
    if let rejection = rejection(of: "\(type) \(name)") {
      return "It was set aside at \(rejection.place): \(rejection.reason)"
    }
    let parts = name.utf8.split(separator: UInt8(ascii: "/"), maxSplits: 1).map { String($0) ?? "" }
    let (namespace, own) = parts.count == 2 ? (parts[0], parts[1]) : ("", name)
    let slip = ObjectSlip.clause(type: type, namespace: namespace, name: own)
    guard slip.isEmpty else { return "\(type) \(name) is not in the snapshot" + slip }
    let sources = plan.sources.map(\.name)
    let grants = sources.compactMap { grantDesk.latest.grants[$0] }
    guard !sources.isEmpty, grants.count == sources.count,
      !grants.contains(where: { $0.mayGrant(type, namespace: namespace, name: own) })
    else { return nil }
    return "\(type) \(name) is not in the snapshot, and the tier above does not grant it to this relay"
  }

  /// The gate that decides what an identity is served.
  private func gate(before id: SPIFFEID, in generation: Generation) -> GateStanding? {
    guard case .granted(let grant) = generation.decision(for: id), generation.isGated(grant) else {
      return nil
    }
    let own = gateDesk.standings.filter { $0.cluster == grant.cluster }
    let all = gateDesk.standings.first { $0.cluster == nil }
    // In the order in which gates count (docs/gates.md).
    return own.first { $0.kind != .held } ?? (all?.kind == .rolledBack ? all : nil) ?? own.first ?? all
  }
}

extension ObjectExplanation {
  /// Says what a gate makes of it.
  fileprivate mutating func behind(_ gate: GateStanding, newest: Resource?, served: Resource?) {
    let what = "\(gate.kind.rawValue) since \(gate.since.rfc3339) (\(gate.reason))"
    let isAllowed = effect == "allow"
    self.gate = .init(kind: gate.kind.rawValue, version: gate.version.description, since: gate.since)
    visible = served != nil
    switch (newest, served) {
    case (let newest?, let served?) where newest.version != served.version:
      reason += "; the cluster is \(what): it is served an older form"
    case (_?, nil) where isAllowed: reason += "; but the cluster is \(what): it is not served yet"
    case (nil, _?):
      reason += "; it is gone from the newest snapshot, but the cluster is \(what): it is served still"
    default: reason += "; the cluster is \(what), which changes nothing for it"
    }
  }
}
