// The ways in which a simulated control plane can follow a type, and what each calls things.

import MCP
import XDS

enum TalkDialect: String, CaseIterable, Sendable {
  case stateOfTheWorld
  case delta
  /// `ResourceSource`, whole sets.
  case mcp
  /// `ResourceSource`, changes.
  case mcpIncremental
  case aggregated
  case aggregatedIncremental

  var path: String {
    switch self {
    case .stateOfTheWorld: ADSDialect.stateOfTheWorld.path
    case .delta: ADSDialect.delta.path
    case .mcp, .mcpIncremental: MCPMethod.resourceSource.path
    case .aggregated: MCPMethod.aggregated.path
    case .aggregatedIncremental: MCPMethod.incrementalAggregated.path
    }
  }

  /// It is told of changes after its first answer, not of whole sets.
  var takesChanges: Bool {
    switch self {
    case .delta, .mcpIncremental, .aggregatedIncremental: true
    case .stateOfTheWorld, .mcp, .aggregated: false
    }
  }

  /// Answers say where they come from and why something is gone.
  var hasControlPlane: Bool { self == .stateOfTheWorld || self == .delta }

  /// What is asked for on one stream. Incremental answers of the aggregated service do not say what they are of.
  var kinds: [SimulatedKind] { self == .aggregatedIncremental ? [.virtualService] : SimulatedKind.allCases }

  /// Every type that is asked for, by its type URL.
  var typeURLs: [String] {
    kinds.map(\.typeURL) + (self == .aggregatedIncremental ? [] : [DiscoveryTalk.unknownTypeURL])
  }

  /// What this dialect calls a type.
  func name(of typeURL: String) -> String {
    guard !hasControlPlane else { return typeURL }
    guard let kind = SimulatedKind(typeURL: typeURL) else { return DiscoveryTalk.unknownCollection }
    return self == .aggregated
      ? "type.googleapis.com/istio.networking.v1alpha3." + kind.rawValue
      : "istio/networking/v1alpha3/" + kind.plural
  }

  /// The type that this dialect calls `name`; nil when it was not asked for.
  func typeURL(of name: String) -> String? { typeURLs.first { self.name(of: $0) == name } }
}

extension SimulatedKind {
  fileprivate var plural: String {
    switch self {
    case .virtualService: "virtualservices"
    case .serviceEntry: "serviceentries"
    case .destinationRule: "destinationrules"
    }
  }
}
