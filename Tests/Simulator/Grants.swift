// Who may see what, as a table from which both the policy files of the simulated relays and the judgement of
// the checkers are made. The checkers never ask the program's own policy.

import Policy

/// The grants of one relay.
struct Grants: Equatable, Sendable {
  let name: String
  /// Cluster → namespaces. Whoever is not here is refused.
  let namespaces: [String: Set<String>]

  /// Downstream relays are clusters too; their identities are `spiffe://sim.test/<cluster>/<host>`.
  static let origin = Grants(name: "origin", namespaces: ["region": ["alpha", "beta", "core", "shared"]])
  static let region = passing(to: "edge")

  /// What leaves the centre, to the tier below.
  static func passing(to cluster: String) -> Grants {
    Grants(name: "for-\(cluster)", namespaces: [cluster: ["alpha", "beta", "shared"]])
  }

  /// What an edge may give: the usual, and what it is changed to while the simulation runs.
  static let usual = Grants(
    name: "usual", namespaces: ["tenant-a": ["alpha", "shared"], "tenant-b": ["beta", "shared"]])
  static let edge = [
    usual,
    Grants(name: "narrow", namespaces: ["tenant-a": ["alpha", "shared"], "tenant-b": ["shared"]]),
    Grants(name: "swapped", namespaces: ["tenant-a": ["shared"], "tenant-b": ["beta"]]),
    Grants(name: "refusing", namespaces: ["tenant-a": ["alpha", "shared"]]),
    Grants(name: "same", namespaces: ["tenant-a": ["alpha", "beta"], "tenant-b": ["alpha", "beta"]]),
  ]

  /// What a cluster may have of what its relay was itself given; nil when it is refused.
  func visible(to cluster: String) -> Set<String>? { namespaces[cluster] }

  /// The policy file that says so.
  var rules: PolicyRules {
    var text = "clusters:\n"
    for (cluster, granted) in namespaces.sorted(by: { $0.key < $1.key }) {
      text += "  - name: \(cluster)\n    identities: [\"spiffe://sim.test/\(cluster)/*\"]\n"
      text += "    allow:\n      - namespaces: [\(granted.sorted().joined(separator: ", "))]\n"
    }
    let loaded = PolicyRules.parse(text, file: name)
    guard let rules = loaded.rules else {
      preconditionFailure("a policy of the simulation is refused: \(loaded.problems)")
    }
    return rules
  }
}
