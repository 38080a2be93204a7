// Goal: every name a collection ever had leads to its kind, and every method to its messages. Method: tables.

import Snapshots
import Testing

@testable import MCP

struct MCPCollectionTests {
  @Test(arguments: [
    (services, "networking.istio.io/VirtualService"),
    ("istio/networking/v1alpha3/workloadentries", "networking.istio.io/WorkloadEntry"),
    ("istio/networking/v1beta1/proxyconfigs", "networking.istio.io/ProxyConfig"),
    ("istio/security/v1beta1/authorizationpolicies", "security.istio.io/AuthorizationPolicy"),
    ("istio/rbac/v1alpha1/authorizationpolicies", "rbac.istio.io/AuthorizationPolicy"),
    ("istio/authentication/v1alpha1/meshpolicies", "authentication.istio.io/MeshPolicy"),
    ("istio/mixer/v1/config/client/quotaspecs", "config.istio.io/QuotaSpec"),
    ("istio/policy/v1beta1/attributemanifests", "config.istio.io/attributemanifest"),
    ("istio/config/v1alpha2/templates", "config.istio.io/template"),
    ("istio/mesh/v1alpha1/MeshConfig", "core/MeshConfig"),
    ("type.googleapis.com/istio.networking.v1alpha3.Gateway", "networking.istio.io/Gateway"),
    ("type.googleapis.com/istio.rbac.v1alpha1.RbacConfig", "rbac.istio.io/RbacConfig"),
    ("type.googleapis.com/istio.mixer.v1.config.client.HTTPAPISpec", "config.istio.io/HTTPAPISpec"),
  ])
  func namesLeadToKinds(name: String, type: String) {
    #expect(MCPCollection(name).type?.description == type)
    #expect(MCPCollection(name).name == name)
  }

  @Test(arguments: [
    "", "/", "istio/networking/v1alpha3/synthetic/serviceentries", "ISTIO/networking/v1alpha3/gateways",
    "networking.istio.io/v1/VirtualService", "istio.networking.v1alpha3.Gateway", "k8s/core/v1/services",
    "type.googleapis.com/google.protobuf.Struct", "type.googleapis.com/", "$triggerCollection",
  ])
  func othersLeadNowhere(name: String) {
    #expect(MCPCollection(name).type == nil)
  }

  @Test func weAskByTheNamesWeUnderstand() {
    for kind in Kinds.all + Kinds.classic {
      #expect(MCPCollection(of: kind)?.type == (kind.collection == nil ? nil : kind.type))
      if let byBody = MCPCollection(byBodyOf: kind) { #expect(byBody.type == kind.type) }
    }
  }

  @Test func namesOfObjects() {
    let mesh = MCPCollection("istio/mesh/v1alpha1/MeshConfig")
    #expect(mesh.heldName(of: "istio-system/meshconfig") == Kind.bareName)
    #expect(mesh.peerName(of: Kind.bareName) == "istio-system/meshconfig")
    let policies = MCPCollection("istio/authentication/v1alpha1/meshpolicies")
    #expect(policies.heldName(of: "default") == "default" && policies.heldName(of: "/default") == "default")
    #expect(policies.peerName(of: "default") == "default")
  }

  @Test(arguments: [
    ("/istio.mcp.v1alpha1.ResourceSource/EstablishResourceStream", MCPMethod.resourceSource),
    ("/istio.mcp.v1alpha1.ResourceSink/EstablishResourceStream", .resourceSink),
    ("/istio.mcp.v1alpha1.AggregatedMeshConfigService/StreamAggregatedResources", .aggregated),
    (
      "/istio.mcp.v1alpha1.AggregatedMeshConfigService/IncrementalAggregatedResources",
      .incrementalAggregated
    ),
  ])
  func methodsHavePaths(path: String, method: MCPMethod) {
    #expect(MCPMethod(path: path) == method)
    #expect(method.path == path)
    #expect(MCPMethod(path: path + "/") == nil)
  }
}
