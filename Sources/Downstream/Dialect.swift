// What a stream speaks: the name of it for status, its label in metrics, and the method it is spoken on.

import MCP
import Metrics
import XDS

enum Dialect: Equatable {
  /// `envoy.service.discovery.v3.AggregatedDiscoveryService`, either method.
  case ads(ADSDialect)
  /// The classic protocol. `resourceSink`: we have dialled the sink.
  case classic(MCPMethod)

  /// The call is ours, its client a server.
  var isDialled: Bool { self == .classic(.resourceSink) }

  /// `clients[].protocol` of status.
  var name: String {
    switch self {
    case .ads(let dialect): dialect.rawValue
    case .classic(.resourceSource): "mcp"
    case .classic(.aggregated), .classic(.incrementalAggregated): "mcp-aggregated"
    case .classic(.resourceSink): "sink"
    }
  }

  /// The label `protocol` of metrics.
  var metric: ServedDialect {
    switch self {
    case .ads(.stateOfTheWorld): .sotw
    case .ads(.delta): .delta
    case .classic(.resourceSource): .mcp
    case .classic(.aggregated), .classic(.incrementalAggregated): .mcpAggregated
    case .classic(.resourceSink): .sink
    }
  }
}
