// The gRPC methods a relay serves, by path. A path that is not here is UNIMPLEMENTED.

import MCP
import XDS

enum ServiceMethod {
  /// A stream of configuration.
  case configuration(Dialect)
}

enum ServiceTable {
  static func method(at path: String) -> ServiceMethod? {
    switch path {
    case ADSDialect.stateOfTheWorld.path: return .configuration(.ads(.stateOfTheWorld))
    case ADSDialect.delta.path: return .configuration(.ads(.delta))
    default: break
    }
    switch MCPMethod(path: path) {
    // Whoever dials that one is a source; ours are configured, and dialled.
    case .resourceSink, nil: return nil
    case let method?: return .configuration(.classic(method))
    }
  }
}
