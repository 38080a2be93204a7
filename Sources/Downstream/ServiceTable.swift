// The gRPC methods a relay serves, by path. A path that is not here is UNIMPLEMENTED.

import XDS

enum ServiceMethod {
  /// `envoy.service.discovery.v3.AggregatedDiscoveryService`, either method.
  case aggregatedDiscovery(ADSDialect)
}

enum ServiceTable {
  static func method(at path: String) -> ServiceMethod? {
    switch path {
    case ADSDialect.stateOfTheWorld.path: .aggregatedDiscovery(.stateOfTheWorld)
    case ADSDialect.delta.path: .aggregatedDiscovery(.delta)
    default: nil
    }
  }
}
