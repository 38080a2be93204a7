// A client's half of every dialect for one kind, on generated messages, so that a misunderstanding inside the
// program is not shared by its judge.

import MCP
import Protos
import SwiftProtobuf
import XDS

enum StagedDialect: String, CaseIterable, Sendable {
  case delta
  case stateOfTheWorld
  /// `ResourceSource`, whole sets.
  case mcp
  /// `ResourceSource`, changes.
  case mcpIncremental
  case aggregated
  case aggregatedIncremental

  var path: String {
    switch self {
    case .delta: ADSDialect.delta.path
    case .stateOfTheWorld: ADSDialect.stateOfTheWorld.path
    case .mcp, .mcpIncremental: "/istio.mcp.v1alpha1.ResourceSource/EstablishResourceStream"
    case .aggregated: "/istio.mcp.v1alpha1.AggregatedMeshConfigService/StreamAggregatedResources"
    case .aggregatedIncremental:
      "/istio.mcp.v1alpha1.AggregatedMeshConfigService/IncrementalAggregatedResources"
    }
  }

  /// The kind as this dialect calls it.
  var typeName: String {
    switch self {
    case .delta, .stateOfTheWorld: virtualServiceURL
    case .mcp, .mcpIncremental, .aggregatedIncremental: "istio/networking/v1alpha3/virtualservices"
    case .aggregated: "type.googleapis.com/istio.networking.v1alpha3.VirtualService"
    }
  }

  /// `clients[].protocol` of status, and the label `protocol` of metrics.
  var names: (status: String, metric: String) {
    switch self {
    case .delta: ("delta", "delta")
    case .stateOfTheWorld: ("sotw", "sotw")
    case .mcp, .mcpIncremental: ("mcp", "mcp")
    case .aggregated, .aggregatedIncremental: ("mcp-aggregated", "mcp_aggregated")
    }
  }

  /// What one response said.
  struct Response {
    var typeName = ""
    var nonce = ""
    var version = ""
    /// Of the snapshot it was made from, where the dialect says so.
    var sequence: String?
    var isWhole = true
    var names: Set<String> = []
    var removed: [String] = []
  }

  /// Asks for a type, or answers `response`.
  func request(
    _ typeName: String? = nil, answering response: Response? = nil, refusal: String? = nil
  ) -> [UInt8] {
    let type = typeName ?? self.typeName
    let nonce = response?.nonce ?? ""
    let fault = refusal.map { text in
      Google_Rpc_Status.with {
        $0.code = 3
        $0.message = text
      }
    }
    switch self {
    case .delta:
      var request = Envoy_Service_Discovery_V3_DeltaDiscoveryRequest()
      request.typeURL = type
      request.responseNonce = nonce
      if let fault { request.errorDetail = fault }
      return encoded(request)
    case .stateOfTheWorld:
      var request = Envoy_Service_Discovery_V3_DiscoveryRequest()
      request.typeURL = type
      request.versionInfo = response?.version ?? ""
      request.responseNonce = nonce
      if let fault { request.errorDetail = fault }
      return encoded(request)
    case .mcp, .mcpIncremental:
      var request = Istio_Mcp_V1alpha1_RequestResources()
      request.sinkNode = Istio_Mcp_V1alpha1_SinkNode()
      request.collection = type
      request.incremental = self == .mcpIncremental
      request.responseNonce = nonce
      if let fault { request.errorDetail = fault }
      return encoded(request)
    case .aggregated:
      var request = Istio_Mcp_V1alpha1_MeshConfigRequest()
      request.typeURL = type
      request.responseNonce = nonce
      if let fault { request.errorDetail = fault }
      return encoded(request)
    case .aggregatedIncremental:
      var request = Istio_Mcp_V1alpha1_IncrementalMeshConfigRequest()
      request.typeURL = type
      request.responseNonce = nonce
      if let fault { request.errorDetail = fault }
      return encoded(request)
    }
  }

  /// Nil: it cannot be read.
  func read(_ message: [UInt8]) -> Response? {
    try? decode(message)
  }

  private func decode(_ message: [UInt8]) throws -> Response {
    switch self {
    case .delta:
      let response = try Envoy_Service_Discovery_V3_DeltaDiscoveryResponse(serializedBytes: message)
      return Response(
        typeName: response.typeURL, nonce: response.nonce, version: response.systemVersionInfo,
        sequence: sequence(in: response.controlPlane.identifier), isWhole: false,
        names: Set(response.resources.map(\.name)), removed: response.removedResources)
    case .stateOfTheWorld:
      let response = try Envoy_Service_Discovery_V3_DiscoveryResponse(serializedBytes: message)
      let resources = try response.resources.map {
        try Istio_Mcp_V1alpha1_Resource(serializedBytes: $0.value)
      }
      return Response(
        typeName: response.typeURL, nonce: response.nonce, version: response.versionInfo,
        sequence: sequence(in: response.controlPlane.identifier), names: Set(resources.map(\.metadata.name)))
    case .mcp, .mcpIncremental:
      let response = try Istio_Mcp_V1alpha1_Resources(serializedBytes: message)
      return Response(
        typeName: response.collection, nonce: response.nonce, version: response.systemVersionInfo,
        isWhole: !response.incremental, names: Set(response.resources.map(\.metadata.name)),
        removed: response.removedResources)
    case .aggregated:
      let response = try Istio_Mcp_V1alpha1_MeshConfigResponse(serializedBytes: message)
      return Response(
        typeName: response.typeURL, nonce: response.nonce, version: response.versionInfo,
        names: Set(response.resources.map(\.metadata.name)))
    case .aggregatedIncremental:
      let response = try Istio_Mcp_V1alpha1_IncrementalMeshConfigResponse(serializedBytes: message)
      return Response(
        typeName: typeName, nonce: response.nonce, version: response.systemVersionInfo, isWhole: false,
        names: Set(response.resources.map(\.metadata.name)), removed: response.removedResources)
    }
  }

  private func sequence(in identifier: String) -> String? {
    identifier.firstRange(of: "\"sequence\":").map { found in
      String(identifier[found.upperBound...].prefix { $0.isNumber })
    }
  }

  private func encoded(_ message: some SwiftProtobuf.Message) -> [UInt8] {
    guard let bytes: [UInt8] = try? message.serializedBytes() else {
      preconditionFailure("a request of this test cannot be encoded")
    }
    return bytes
  }
}
