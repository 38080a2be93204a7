// At rest, in every dialect, a client holds by name and content hash what the view of its edge has, and nothing
// in it differs from what the origin has under that name.

import Downstream
import Gates
import Primitives
import SPIFFE
import Snapshots

enum ViewChecker {
  static func findings(
    _ clients: [SimulatedClient], edge: (String) -> SimulatedRelay, origin: SimulatedRelay
  ) -> [String] {
    clients.flatMap { client -> [String] in
      guard let id = try? SPIFFEID(parsing: Identities.id(client.cluster, client.host)),
        let view = edge(client.edge).life?.crossings.generation.value?.view(for: id)
      else { return [] }
      return client.dialect.kinds.flatMap { kind -> [String] in
        let type = TypeName(group: "networking.istio.io", kind: kind.rawValue)
        let held = client.talk.held[kind.typeURL, default: [:]].mapValues(\.version)
        let shown = versions(of: view.collections[type])
        let truth = versions(of: origin.life?.crossings.generation.value?.snapshot.collections[type])
        let foreign = held.filter { truth[$0.key] != $0.value }.keys.sorted()
        return
          (held == shown ? [] : ["\(client.host) (\(client.dialect)) holds another \(kind) than its view"])
          + foreign.map { "\(client.host) (\(client.dialect)) holds \(kind) \($0), which the origin has not" }
      }
    }
  }

  private static func versions(of collection: Collection?) -> [String: String] {
    Dictionary(
      (collection ?? .empty).resources.map { ($0.wireName, $0.version.description) },
      uniquingKeysWith: { first, _ in first })
  }
}
