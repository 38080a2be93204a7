// What a relay says of itself to an istiod, which only answers nodes of its mesh.
//
// The identity counts: istiod wants spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/NAME with the namespace that the node
// says, and for configuration that of its root. The node type decides which changes are pushed: to a `waypoint`
// (Istio 1.18 and later) all of them, to a `router` most.
// Source: connection rules and "api" generator of istiod.

import GRPC
import SPIFFE
import Trust
import XDS

struct MeshIntroduction {
  private static let types = ["waypoint", "router"]
  /// Where istiod lives unless its operator says otherwise.
  private static let rootNamespace = "istio-system"

  private var typeIndex = 0

  /// The present type was not understood.
  mutating func tryOther() { typeIndex = (typeIndex + 1) % MeshIntroduction.types.count }

  func node(of own: SPIFFEID) -> Node {
    let namespace = MeshIntroduction.namespace(of: own) ?? MeshIntroduction.rootNamespace
    let type = MeshIntroduction.types[typeIndex]
    return Node(
      id: "\(type)~127.0.0.1~mcp-relay.\(namespace)~\(namespace).svc.cluster.local",
      metadata: [
        "GENERATOR": "api", "NAMESPACE": namespace,
        // What istiod's own client says: newer than every release.
        "ISTIO_VERSION": "65536.65536.65536",
      ])
  }

  /// Why an istiod probably refuses us; empty for any other upstream.
  func hint(_ status: GRPCStatus, _ settings: SubscriptionSettings, _ credentials: Credentials?) -> String {
    guard case .host = settings.server, let own = credentials?.svid.id else { return "" }
    guard let namespace = MeshIntroduction.namespace(of: own) else {
      return
        " (our SVID \(own) is not of the form spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/NAME, which istiod asks for)"
    }
    return status.code == .unauthenticated
      ? " (istiod did not accept our SVID: it has to come from an authority that the mesh trusts)"
      : " (istiod gives configuration to its root namespace only; our SVID is of \(namespace))"
  }

  /// `NS` of `spiffe://td/ns/NS/sa/SA`.
  private static func namespace(of id: SPIFFEID) -> String? {
    let parts = id.description.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
    guard parts.count == 7, parts[3] == "ns", parts[5] == "sa", !parts[4].isEmpty else { return nil }
    return parts[4]
  }
}
