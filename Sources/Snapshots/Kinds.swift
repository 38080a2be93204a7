// The kinds of configuration object that Istio control planes exchange, as one table.
//
// Facts: the schema table of istiod (group, versions, plural, scope, body message) and the classic
// MCP collection names. A kind outside this table can still be relayed; the table adds what is known:
// aliases of versions, the body message to insist on, the scope of its names.

/// What is known about one kind.
public struct Kind: Sendable, Hashable {
  public let type: TypeName
  /// Versions under which peers ask for it; the one we ask for ourselves comes first.
  public let versions: [String]
  /// Full name of the protobuf message that is its body.
  public let bodyMessage: String
  /// Lower-case plural, as in Kubernetes paths: `virtualservices`.
  public let plural: String
  /// Objects of this kind have no namespace.
  public let isClusterScoped: Bool
  /// The body is a protobuf message that our own descriptors describe.
  public let hasDescriptor: Bool
  /// The body travels alone, without name or metadata, and at most once: MeshConfig.
  public let isBare: Bool
  /// Its name in the classic MCP protocol; nil when that protocol never had it.
  public let collection: String?

  /// The type URL to use where the choice is ours.
  public var typeURL: TypeURL { TypeURL(type: type, version: versions[0]) }

  /// The name given to the one object of a bare kind, which has none on the wire.
  public static let bareName = "meshconfig"
}

/// The table.
public enum Kinds {
  /// All kinds of today's Istio: its own, then the Gateway API ones.
  public static let all: [Kind] =
    security + networking + others + mesh + gatewayAPI

  /// Kinds that only old control planes know (up to Istio 1.8), spoken of in the classic protocol alone.
  public static let classic: [Kind] = [
    row(
      "authentication.istio.io", "Policy", ["v1alpha1"], "istio.authentication.v1alpha1.Policy",
      "policies", "istio/authentication/v1alpha1/policies"),
    row(
      "authentication.istio.io", "MeshPolicy", ["v1alpha1"], "istio.authentication.v1alpha1.Policy",
      "meshpolicies", "istio/authentication/v1alpha1/meshpolicies", clusterScoped: true),
    row(
      "rbac.istio.io", "ServiceRole", ["v1alpha1"], "istio.rbac.v1alpha1.ServiceRole",
      "serviceroles", "istio/rbac/v1alpha1/serviceroles"),
    row(
      "rbac.istio.io", "ServiceRoleBinding", ["v1alpha1"], "istio.rbac.v1alpha1.ServiceRoleBinding",
      "servicerolebindings", "istio/rbac/v1alpha1/servicerolebindings"),
    row(
      "rbac.istio.io", "RbacConfig", ["v1alpha1"], "istio.rbac.v1alpha1.RbacConfig",
      "rbacconfigs", "istio/rbac/v1alpha1/rbacconfigs"),
    row(
      "rbac.istio.io", "ClusterRbacConfig", ["v1alpha1"], "istio.rbac.v1alpha1.RbacConfig",
      "clusterrbacconfigs", "istio/rbac/v1alpha1/clusterrbacconfigs", clusterScoped: true),
    row(
      "rbac.istio.io", "AuthorizationPolicy", ["v1alpha1"], "istio.rbac.v1alpha1.AuthorizationPolicy",
      "authorizationpolicies", "istio/rbac/v1alpha1/authorizationpolicies"),
    row(
      "config.istio.io", "HTTPAPISpec", ["v1alpha2"], "istio.mixer.v1.config.client.HTTPAPISpec",
      "httpapispecs", "istio/config/v1alpha2/httpapispecs"),
    row(
      "config.istio.io", "HTTPAPISpecBinding", ["v1alpha2"],
      "istio.mixer.v1.config.client.HTTPAPISpecBinding",
      "httpapispecbindings", "istio/config/v1alpha2/httpapispecbindings"),
    row(
      "config.istio.io", "QuotaSpec", ["v1alpha2"], "istio.mixer.v1.config.client.QuotaSpec",
      "quotaspecs", "istio/mixer/v1/config/client/quotaspecs"),
    row(
      "config.istio.io", "QuotaSpecBinding", ["v1alpha2"], "istio.mixer.v1.config.client.QuotaSpecBinding",
      "quotaspecbindings", "istio/mixer/v1/config/client/quotaspecbindings"),
    row(
      "config.istio.io", "attributemanifest", ["v1alpha2"], "istio.policy.v1beta1.AttributeManifest",
      "attributemanifests", "istio/policy/v1beta1/attributemanifests"),
    row(
      "config.istio.io", "instance", ["v1alpha2"], "istio.policy.v1beta1.Instance",
      "instances", "istio/policy/v1beta1/instances"),
    row(
      "config.istio.io", "handler", ["v1alpha2"], "istio.policy.v1beta1.Handler",
      "handlers", "istio/policy/v1beta1/handlers"),
    row(
      "config.istio.io", "rule", ["v1alpha2"], "istio.policy.v1beta1.Rule",
      "rules", "istio/policy/v1beta1/rules"),
    row(
      "config.istio.io", "adapter", ["v1alpha2"], "google.protobuf.Struct",
      "adapters", "istio/config/v1alpha2/adapters"),
    row(
      "config.istio.io", "template", ["v1alpha2"], "google.protobuf.Struct",
      "templates", "istio/config/v1alpha2/templates"),
  ]

  /// The kind of a type, of today or classic; nil when the table does not know it.
  public static subscript(_ type: TypeName) -> Kind? { byType[type] }

  /// The kind behind a classic MCP collection name.
  public static subscript(collection name: String) -> Kind? { byCollection[name] }

  /// The kind of the classic protocol whose body is this message: how Istio 1.0 named what it wanted. Of
  /// two kinds with one message (Policy and MeshPolicy) the one with namespaces; nil for Struct, which
  /// says nothing.
  public static subscript(bodyMessage name: String) -> Kind? { byBody[name] }

  private static let byType = Dictionary(uniqueKeysWithValues: (all + classic).map { ($0.type, $0) })
  private static let byCollection = Dictionary(
    uniqueKeysWithValues: (all + classic).compactMap { kind in kind.collection.map { ($0, kind) } })
  private static let byBody = Dictionary(
    (all + classic).filter { $0.collection != nil && $0.bodyMessage != "google.protobuf.Struct" }
      .map { ($0.bodyMessage, $0) }
  ) { first, second in first.isClusterScoped ? second : first }

  private static let security: [Kind] = [
    row(
      "security.istio.io", "AuthorizationPolicy", ["v1", "v1beta1"],
      "istio.security.v1beta1.AuthorizationPolicy", "authorizationpolicies",
      "istio/security/v1beta1/authorizationpolicies", described: true),
    row(
      "security.istio.io", "PeerAuthentication", ["v1", "v1beta1"],
      "istio.security.v1beta1.PeerAuthentication", "peerauthentications",
      "istio/security/v1beta1/peerauthentications", described: true),
    row(
      "security.istio.io", "RequestAuthentication", ["v1", "v1beta1"],
      "istio.security.v1beta1.RequestAuthentication", "requestauthentications",
      "istio/security/v1beta1/requestauthentications", described: true),
  ]

  private static let networking: [Kind] = [
    networkingRow("DestinationRule", "destinationrules"),
    networkingRow("EnvoyFilter", "envoyfilters", versions: ["v1alpha3"]),
    networkingRow("Gateway", "gateways"),
    row(
      "networking.istio.io", "ProxyConfig", ["v1beta1"], "istio.networking.v1beta1.ProxyConfig",
      "proxyconfigs", "istio/networking/v1beta1/proxyconfigs", described: true),
    networkingRow("ServiceEntry", "serviceentries"),
    networkingRow("Sidecar", "sidecars"),
    networkingRow("VirtualService", "virtualservices"),
    networkingRow("WorkloadEntry", "workloadentries"),
    networkingRow("WorkloadGroup", "workloadgroups"),
  ]

  private static let others: [Kind] = [
    row(
      "telemetry.istio.io", "Telemetry", ["v1", "v1alpha1"], "istio.telemetry.v1alpha1.Telemetry",
      "telemetries", "istio/telemetry/v1alpha1/telemetries", described: true),
    row(
      "extensions.istio.io", "TrafficExtension", ["v1alpha1"],
      "istio.extensions.v1alpha1.TrafficExtension", "trafficextensions", nil, described: true),
    row(
      "extensions.istio.io", "WasmPlugin", ["v1alpha1"], "istio.extensions.v1alpha1.WasmPlugin",
      "wasmplugins", "istio/extensions/v1alpha1/wasmplugins", described: true),
  ]

  private static let mesh: [Kind] = [
    row(
      "core", "MeshConfig", ["v1alpha1"], "istio.mesh.v1alpha1.MeshConfig", "meshconfigs",
      "istio/mesh/v1alpha1/MeshConfig", clusterScoped: true, bare: true),
    row(
      "core", "MeshNetworks", ["v1alpha1"], "istio.mesh.v1alpha1.MeshNetworks", "meshnetworks",
      "istio/mesh/v1alpha1/MeshNetworks", clusterScoped: true),
  ]

  private static let gatewayAPI: [Kind] = [
    jsonRow("GatewayClass", "gatewayclasses", ["v1", "v1alpha2", "v1beta1"], clusterScoped: true),
    jsonRow("Gateway", "gateways", ["v1", "v1alpha2", "v1beta1"]),
    jsonRow("HTTPRoute", "httproutes", ["v1", "v1alpha2", "v1beta1"]),
    jsonRow("GRPCRoute", "grpcroutes", ["v1", "v1alpha2"]),
    jsonRow("TCPRoute", "tcproutes", ["v1", "v1alpha2"]),
    jsonRow("TLSRoute", "tlsroutes", ["v1", "v1alpha2"]),
    jsonRow("UDPRoute", "udproutes", ["v1alpha2"]),
    jsonRow("ReferenceGrant", "referencegrants", ["v1beta1", "v1alpha2"]),
    jsonRow("BackendTLSPolicy", "backendtlspolicies", ["v1"]),
    jsonRow("ListenerSet", "listenersets", ["v1"]),
    jsonRow("XBackend", "xbackends", ["v1alpha1"], group: "gateway.networking.x-k8s.io"),
    jsonRow(
      "XBackendTrafficPolicy", "xbackendtrafficpolicies", ["v1alpha1"],
      group: "gateway.networking.x-k8s.io"),
    jsonRow("InferencePool", "inferencepools", ["v1"], group: "inference.networking.k8s.io"),
  ]

  private static func row(
    _ group: String, _ kind: String, _ versions: [String], _ body: String, _ plural: String,
    _ collection: String?, clusterScoped: Bool = false, described: Bool = false, bare: Bool = false
  ) -> Kind {
    Kind(
      type: TypeName(group: group, kind: kind), versions: versions, bodyMessage: body, plural: plural,
      isClusterScoped: clusterScoped, hasDescriptor: described, isBare: bare, collection: collection)
  }

  private static func networkingRow(
    _ kind: String, _ plural: String, versions: [String] = ["v1", "v1beta1", "v1alpha3"]
  ) -> Kind {
    row(
      "networking.istio.io", kind, versions, "istio.networking.v1alpha3." + kind, plural,
      "istio/networking/v1alpha3/" + plural, described: true)
  }

  /// Gateway API kinds have no protobuf message: istiod wraps their JSON in a Struct.
  private static func jsonRow(
    _ kind: String, _ plural: String, _ versions: [String], clusterScoped: Bool = false,
    group: String = "gateway.networking.k8s.io"
  ) -> Kind {
    row(group, kind, versions, "google.protobuf.Struct", plural, nil, clusterScoped: clusterScoped)
  }
}

extension TypeName {
  /// Reads a type as people write it: `group/Kind`, or a name that it has on the wire, `group/version/Kind` or a classic
  /// MCP collection; all of them mean the kind. Nil for anything else.
  public init?(written text: String) {
    if let kind = Kinds[collection: text] {
      self = kind.type
    } else if let name = TypeName(parsing: text) {
      self = name
    } else if let url = TypeURL(parsing: text), url.version.first == "v",
      url.version.dropFirst().first?.isWholeNumber == true
    {
      self = url.type
    } else {
      return nil
    }
  }
}
