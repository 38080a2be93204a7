// CSDS: what a client has been sent and what it said of it, one resource at a time. A caller sees the streams of
// its own verified identity, on whichever serve loop they are, and nobody else's.
// Source: envoy.service.status.v3.ClientStatusDiscoveryService. Contents of resources are left out: whoever may
// have them has them from its stream (docs/decisions/061-client-status.md).

import GRPC
import Protos
public import Snapshots
import SwiftProtobuf

enum ClientStatusMethod: String, CaseIterable {
  case fetch = "/envoy.service.status.v3.ClientStatusDiscoveryService/FetchClientStatus"
  case stream = "/envoy.service.status.v3.ClientStatusDiscoveryService/StreamClientStatus"
}

/// One stream with everything it has told its client.
public struct StreamDescription: Sendable {
  /// What the client calls itself.
  public let nodeID: String
  /// As in status.
  public let dialect: String
  public let subscriptions: [SubscriptionDetail]

  /// Resources that are listed.
  var resources: Int { subscriptions.reduce(0) { $0 + $1.resources.count } }
}

/// Which streams a request asks for.
public struct ClientStatusQuery: Sendable {
  /// Resources that one serve loop lists in one answer. Reason: some ten milliseconds of its time. What is more has
  /// the entry of its subscription alone.
  static let resourcesMost = 20_000
  /// An answer that lists no more may be had as often as one likes; others are paced as `limits.resend` says.
  static let freeResources = 1_000

  private let matchers: [NodeMatching]

  init(_ request: [UInt8]) throws(GRPCStatus) {
    let request = try decoded(request, as: Envoy_Service_Status_V3_ClientStatusRequest.self)
    var room = NodeMatching.conditionsMost
    var matchers: [NodeMatching] = []
    for matcher in request.nodeMatchers { matchers.append(try NodeMatching(matcher, room: &room)) }
    self.matchers = matchers
  }

  /// Any one of the matchers will do, and none asks for all.
  func wants(_ nodeID: String, _ metadata: [UInt8]) -> Bool {
    guard !matchers.isEmpty else { return true }
    var label = NodeLabel(id: nodeID, metadata: metadata)
    return matchers.contains { $0.matches(&label) }
  }

  static func response(_ streams: [StreamDescription]) -> [UInt8] {
    bytes(of: Envoy_Service_Status_V3_ClientStatusResponse.with { $0.config = streams.map(\.config) })
  }
}

extension StreamDescription {
  fileprivate var config: Envoy_Service_Status_V3_ClientConfig {
    .with { config in
      config.node.id = nodeID
      config.clientScope = dialect
      config.genericXdsConfigs = subscriptions.flatMap { $0.configs }
    }
  }
}

extension SubscriptionDetail {
  private typealias Config = Envoy_Service_Status_V3_ClientConfig.GenericXdsConfig

  /// The subscription as a whole, under the name `*`, and then each of its resources.
  fileprivate var configs: [Envoy_Service_Status_V3_ClientConfig.GenericXdsConfig] {
    var whole = config("*", version: status.sent ?? "", standing)
    if standing == .refused {
      whole.errorState.details = status.lastNack ?? ""
      whole.errorState.versionInfo = status.sent ?? ""
    }
    return [whole] + resources.map { config($0.name, version: $0.version, $0.standing) }
  }

  private func config(_ name: String, version: String, _ standing: Standing?) -> Config {
    .with {
      $0.typeURL = status.typeURL
      $0.name = name
      $0.versionInfo = version
      switch standing {
      case nil:
        $0.configStatus = .notSent
        $0.clientStatus = .requested
      case .unanswered:
        $0.configStatus = .stale
        $0.clientStatus = .unknown
      case .acknowledged:
        $0.configStatus = .synced
        $0.clientStatus = .acked
      case .refused:
        $0.configStatus = .error
        $0.clientStatus = .nacked
      }
    }
  }
}
