// One upstream of the plan as a subscription: who asks in which protocol for what, and how what comes is taken in.

import MCP
import Primitives
import Snapshots
import Transport
import Upstream
import XDS

extension UpstreamPlan {
  /// How often an istiod is asked again. Reason: the advice of its push gaps; a full answer costs it little.
  private static let istiodRefresh: Duration = .seconds(60)

  func settings(of source: SourcePlan, _ plan: TierPlan) -> SubscriptionSettings {
    let expected: ExpectedServer =
      switch server {
      case .workload(let pattern): .workload(pattern)
      case .host(let name, _): .host(name)
      }
    var refresh: Duration?
    if case .host = server, case .discovery(.stateOfTheWorld) = dialect {
      refresh = UpstreamPlan.istiodRefresh
    }
    return SubscriptionSettings(
      source: source.name, endpoints: endpoints, server: expected, minimumTLS: plan.minimumTLS,
      refresh: refresh)
  }

  /// The asking side, with what it held before a restart.
  func follower(
    of source: SourcePlan, _ plan: TierPlan, me: PathElement, canonicalize: @escaping BodyCanonicalizer,
    held: HeldPart?
  ) -> Follower {
    let kinds = kinds.filter { source.only.admits($0.type) }
    let intake = intake(of: source, canonicalize: canonicalize)
    switch dialect {
    case .discovery(let dialect):
      var settings = ADSSubscriber.Settings(
        dialect: dialect, types: kinds.map(\.typeURL), node: Node(id: plan.node), source: source.name,
        upstream: endpoints[0].description, instance: me.instance, limits: plan.limits)
      settings.intake = intake
      if case .host = server { settings.searchesVersions = true }
      var subscriber = ADSSubscriber(settings)
      if let held { subscriber.hold(held.collections, positions: held.positions) }
      return .discovery(subscriber, dialect)
    case .classic(let method):
      var settings = MCPSink.Settings(
        method: method, isIncremental: true, kinds: kinds, node: SinkNode(id: plan.node),
        source: source.name, upstream: endpoints[0].description, limits: plan.limits)
      settings.intake = intake
      var sink = MCPSink(settings)
      if let held { sink.hold(held.collections) }
      return .classic(sink, method)
    }
  }

  /// How what it says is taken in.
  func intake(of source: SourcePlan, canonicalize: @escaping BodyCanonicalizer) -> Intake {
    Intake(
      canonicalize: canonicalize, rewrite: source.expandHosts.map { ShortHosts(domain: $0).rewriter },
      leavesOut: leavesOut)
  }

  /// What an istiod made by itself: entries for the services of its clusters, which would double those of
  /// another cluster, and what it derived from Gateway API objects, which istiod itself refuses to take.
  private var leavesOut: (@Sendable (Resource) -> Bool)? {
    guard case .host = server, case .discovery = dialect, !takesGenerated else { return nil }
    return { resource in
      (resource.bodyMessage == "istio.networking.v1alpha3.ServiceEntry"
        && resource.name.hasPrefix("synthetic-"))
        || resource.annotations.contains { $0.key.hasPrefix("internal.istio.io/") }
    }
  }
}
