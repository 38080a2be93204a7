// Why an identity sees an object or does not, for people: the answer of `explain`.

public import Documents
public import SPIFFE

/// The answer and the rule it comes from.
public struct Explanation: Sendable, Equatable {
  public enum Effect: String, Sendable {
    /// A rule allows it and none denies it.
    case allow
    /// A rule denies it, whatever others allow.
    case deny
    /// No rule speaks of it, and what is not allowed is hidden.
    case none
    /// The identity is blocked.
    case blocked
    /// The identity belongs to no cluster.
    case unknown
  }

  public let visible: Bool
  /// Nil when the identity is blocked or of no cluster.
  public let cluster: String?
  public let effect: Effect
  /// The place of the deciding rule: the first that denies, else the first that allows; of a blocked identity that of
  /// its pattern under `blocked`.
  public let rule: SourcePosition?
  /// One sentence without a full stop.
  public let reason: String
}

extension Explanation {
  /// Whatever the object.
  init(_ refusal: IdentityRefusal) {
    switch refusal {
    case .blocked(let id, let pattern, let place):
      self.init(
        visible: false, cluster: nil, effect: .blocked, rule: place,
        reason: "\(id) is blocked by \(pattern) at \(place)")
    case .noCluster:
      self.init(visible: false, cluster: nil, effect: .unknown, rule: nil, reason: refusal.what)
    }
  }
}

extension PolicyRules {
  /// Why `id` sees this object or not.
  public func explain(_ facts: ResourceFacts, as id: SPIFFEID) -> Explanation {
    do throws(IdentityRefusal) {
      return explain(facts, cluster: try index(of: id))
    } catch {
      return Explanation(error)
    }
  }

  /// Why a cluster sees this object or not. `index`: a place in `clusters`.
  public func explain(_ facts: ResourceFacts, cluster index: Int) -> Explanation {
    let cluster = clusters[index]
    func answer(_ effect: Explanation.Effect, _ rule: Rule?, _ reason: String) -> Explanation {
      Explanation(
        visible: effect == .allow, cluster: cluster.name, effect: effect, rule: rule?.position, reason: reason
      )
    }
    if let denying = cluster.deny.first(where: { $0.matches(facts) }) {
      return answer(.deny, denying, "The rule at \(denying.position) denies it to \(cluster.name)")
    }
    if let allowing = cluster.allow.first(where: { $0.matches(facts) }) {
      return answer(.allow, allowing, "The rule at \(allowing.position) allows it to \(cluster.name)")
    }
    return answer(.none, nil, "No rule of \(cluster.name) allows it")
  }
}
