// The four methods of the classic Mesh Configuration Protocol, and where each of their messages has its
// fields: one content, four layouts, grown over three years of Istio.
//
//   Istio 1.0   AggregatedMeshConfigService   named by Any type; `Client` instead of `SinkNode`
//   Istio 1.1+  ResourceSource, ResourceSink  named by collection; responses may be changes
//
// Source: istio.mcp.v1alpha1, the services removed from istio/api in 2024.

/// A method of the classic protocol.
public enum MCPMethod: String, Sendable, CaseIterable {
  /// The sink dials; whole sets, or changes where the sink asks for them.
  case resourceSource
  /// The source dials; the same messages the other way round.
  case resourceSink
  /// The sink dials; whole sets.
  case aggregated
  /// The sink dials; changes.
  case incrementalAggregated

  /// The method's HTTP/2 path.
  public var path: String {
    switch self {
    case .resourceSource: "/istio.mcp.v1alpha1.ResourceSource/EstablishResourceStream"
    case .resourceSink: "/istio.mcp.v1alpha1.ResourceSink/EstablishResourceStream"
    case .aggregated: "/istio.mcp.v1alpha1.AggregatedMeshConfigService/StreamAggregatedResources"
    case .incrementalAggregated:
      "/istio.mcp.v1alpha1.AggregatedMeshConfigService/IncrementalAggregatedResources"
    }
  }

  /// The method at a path; nil for any other path.
  public init?(path: String) {
    guard let method = MCPMethod.allCases.first(where: { $0.path == path }) else { return nil }
    self = method
  }

  /// Field numbers of the sink's message; 0 where it has no such field.
  struct RequestLayout {
    let node: Int
    let collection: Int
    let initialVersions: Int
    let incremental: Int
    /// Of the last good message: the nonce tells that already, so only written.
    let version: Int
    /// The same in all of them.
    let nonce = 4
    let fault = 5
  }

  /// Field numbers of the source's message; 0 where it has no such field.
  struct ResponseLayout {
    let collection: Int
    let resources: Int
    let removed: Int
    let nonce: Int
    let incremental: Int
    /// The same in all of them.
    let version = 1
  }

  var request: RequestLayout {
    switch self {
    // RequestResources
    case .resourceSource, .resourceSink:
      RequestLayout(node: 1, collection: 2, initialVersions: 3, incremental: 6, version: 0)
    // MeshConfigRequest
    case .aggregated: RequestLayout(node: 2, collection: 3, initialVersions: 0, incremental: 0, version: 1)
    // IncrementalMeshConfigRequest
    case .incrementalAggregated:
      RequestLayout(node: 1, collection: 2, initialVersions: 3, incremental: 0, version: 0)
    }
  }

  var response: ResponseLayout {
    switch self {
    // Resources
    case .resourceSource, .resourceSink:
      ResponseLayout(collection: 2, resources: 3, removed: 4, nonce: 5, incremental: 6)
    // MeshConfigResponse
    case .aggregated: ResponseLayout(collection: 3, resources: 2, removed: 0, nonce: 4, incremental: 0)
    // IncrementalMeshConfigResponse
    case .incrementalAggregated:
      ResponseLayout(collection: 0, resources: 2, removed: 3, nonce: 4, incremental: 0)
    }
  }
}
