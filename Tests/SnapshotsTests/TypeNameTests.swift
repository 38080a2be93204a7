// Goal: names of types are read exactly, and the table of kinds agrees with itself and with what istiod
// asks for. Method: tables.

import Testing

@testable import Snapshots

struct TypeNameTests {
  @Test(arguments: [
    ("networking.istio.io/v1/VirtualService", "networking.istio.io/VirtualService", "v1"),
    ("core/v1alpha1/MeshConfig", "core/MeshConfig", "v1alpha1"),
  ])
  func readsTypeURLs(text: String, type: String, version: String) throws {
    let url = try #require(TypeURL(parsing: text))
    #expect(url.text == text)
    #expect(url.type.description == type)
    #expect(url.version == version)
    #expect(TypeURL(type: url.type, version: url.version) == url)
  }

  @Test(arguments: [
    "", "/", "//", "a//b", "a/b", "a/b/c/d", "/v1/Kind", "type.googleapis.com/istio.mcp.v1alpha1.Resource",
    String(repeating: "a", count: 600) + "/v1/Kind",
  ])
  func othersAreNoTypeURLs(text: String) {
    #expect(TypeURL(parsing: text) == nil)
  }

  @Test(arguments: [
    ("networking.istio.io/VirtualService", "networking.istio.io/VirtualService"),
    ("networking.istio.io/v1alpha3/VirtualService", "networking.istio.io/VirtualService"),
    ("istio/networking/v1alpha3/virtualservices", "networking.istio.io/VirtualService"),
    ("example.org/v2/Thing", "example.org/Thing"),
    ("core/v1alpha1/MeshConfig", "core/MeshConfig"),
  ])
  func everyNameOfATypeIsRead(text: String, type: String) {
    #expect(TypeName(written: text)?.description == type)
  }

  @Test(arguments: [
    "", "VirtualService", "a/b/c", "a/v/c", "a/vx/c", "a//c", "istio/networking/v1alpha3/nothing",
  ])
  func whatNamesNoTypeIsNotRead(text: String) {
    #expect(TypeName(written: text) == nil)
  }

  @Test func theEmptyGroupIsCore() {
    #expect(TypeName(group: "", kind: "MeshConfig") == TypeName(parsing: "core/MeshConfig"))
    #expect(TypeName(parsing: "MeshConfig") == nil)
    #expect(TypeName(parsing: "/MeshConfig") == nil)
  }

  /// What istiod 1.24 to 1.31, and 1.18 to 1.23, ask for.
  @Test(arguments: [
    "core/v1alpha1/MeshConfig", "security.istio.io/v1/AuthorizationPolicy",
    "networking.istio.io/v1/DestinationRule", "networking.istio.io/v1alpha3/EnvoyFilter",
    "networking.istio.io/v1/Gateway", "security.istio.io/v1/PeerAuthentication",
    "networking.istio.io/v1beta1/ProxyConfig", "security.istio.io/v1/RequestAuthentication",
    "networking.istio.io/v1/ServiceEntry", "networking.istio.io/v1/Sidecar",
    "telemetry.istio.io/v1/Telemetry", "extensions.istio.io/v1alpha1/TrafficExtension",
    "networking.istio.io/v1/VirtualService", "extensions.istio.io/v1alpha1/WasmPlugin",
    "networking.istio.io/v1/WorkloadEntry", "networking.istio.io/v1/WorkloadGroup",
    "networking.istio.io/v1alpha3/VirtualService", "networking.istio.io/v1beta1/Sidecar",
    "security.istio.io/v1beta1/PeerAuthentication", "telemetry.istio.io/v1alpha1/Telemetry",
  ])
  func istiodsTypesAreKnown(text: String) throws {
    let url = try #require(TypeURL(parsing: text))
    #expect(Kinds[url.type] != nil)
    #expect(!url.isUnknownVersion)
  }

  @Test func versionsNobodyKnowsAreUnknown() {
    #expect(TypeURL(parsing: "networking.istio.io/v1/EnvoyFilter")?.isUnknownVersion == true)
    #expect(TypeURL(parsing: "networking.istio.io/v2/VirtualService")?.isUnknownVersion == true)
    #expect(TypeURL(parsing: "acme.io/v9/Thing")?.isUnknownVersion == false)
  }

  @Test func theTableAgreesWithItself() {
    for kind in Kinds.all + Kinds.classic {
      #expect(Kinds[kind.type] == kind)
      #expect(!kind.versions.isEmpty)
      #expect(kind.hasDescriptor ? kind.bodyMessage.hasPrefix("istio.") : true)
      if let collection = kind.collection { #expect(Kinds[collection: collection] == kind) }
    }
    #expect(Kinds[collection: "istio/networking/v1alpha3/serviceentries"]?.type.kind == "ServiceEntry")
    #expect(Kinds.all.filter(\.hasDescriptor).count == 15)
    #expect(Kinds.all.filter(\.isBare).map(\.type.kind) == ["MeshConfig"])
    // Two kinds are called Gateway; the group tells them apart.
    #expect(Kinds.all.filter { $0.type.kind == "Gateway" }.count == 2)
  }
}
