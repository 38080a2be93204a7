// After faults stop, everybody holds what the truth says and policy grants, and equal content bears equal
// versions everywhere.

import Snapshots

enum ConvergenceChecker {
  /// Why the world is not at rest yet; empty when it is.
  static func findings(
    _ clients: [SimulatedClient], _ truth: Truth, _ grants: (String) -> Grants
  ) -> [String] { findings(clients, truth.newest, grants) }

  /// The same for any state that everybody should have.
  static func findings(
    _ clients: [SimulatedClient], _ state: Truth.State, _ grants: (String) -> Grants
  ) -> [String] {
    clients.flatMap { client -> [String] in
      let passedOn = Grants.region.visible(to: "edge") ?? []
      guard let granted = grants(client.edge).visible(to: client.cluster)?.intersection(passedOn) else {
        return []
      }
      guard client.call != nil else { return ["\(client.host) has no stream"] }
      return client.dialect.kinds.compactMap { kind in
        let wanted = Truth.cut(state, kind, granted).mapValues(Optional.some)
        let held = client.held(kind)
        guard held != wanted else { return nil }
        return "\(client.host) at \(client.edge) holds \(held.count) \(kind.rawValue), not the newest "
          + "\(wanted.count)"
      }
    }
  }

  /// Where equal objects bear different versions; for a world at rest.
  static func disagreements(_ clients: [SimulatedClient]) -> [String] {
    var versions: [Int: String] = [:]
    var findings: [String] = []
    for client in clients {
      for (typeURL, objects) in client.talk.held.sorted(by: { $0.key < $1.key }) {
        for (name, object) in objects.sorted(by: { $0.key < $1.key }) {
          guard let revision = object.revision else { continue }
          if let known = versions[revision], known != object.version {
            findings.append("\(typeURL) \(name) has two versions: \(known) and \(object.version)")
          }
          versions[revision] = object.version
        }
      }
    }
    return findings
  }
}
