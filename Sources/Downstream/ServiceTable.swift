// The gRPC methods a relay serves, by path. A path that is not here is UNIMPLEMENTED.

import MCP
import XDS

enum ServiceMethod: Equatable {
  /// A stream of configuration.
  case configuration(Dialect)
  case health(HealthMethod)
  case reflection
  case clientStatus(ClientStatusMethod)
}

enum ServiceTable {
  /// Full names of the services, sorted.
  static let services = [
    "envoy.service.discovery.v3.AggregatedDiscoveryService",
    "envoy.service.status.v3.ClientStatusDiscoveryService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "istio.mcp.v1alpha1.AggregatedMeshConfigService",
    "istio.mcp.v1alpha1.ResourceSource",
  ]

  static func method(at path: String) -> ServiceMethod? {
    switch path {
    case ADSDialect.stateOfTheWorld.path: return .configuration(.ads(.stateOfTheWorld))
    case ADSDialect.delta.path: return .configuration(.ads(.delta))
    default: break
    }
    switch MCPMethod(path: path) {
    // Whoever dials that one is a source; ours are configured, and dialled.
    case .resourceSink: return nil
    case let method?: return .configuration(.classic(method))
    case nil: break
    }
    if let method = HealthMethod(rawValue: path) { return .health(method) }
    if let method = ClientStatusMethod(rawValue: path) { return .clientStatus(method) }
    return ReflectionStream.paths.contains(path) ? .reflection : nil
  }
}
