// Every metric of meshrelay, once, in the order it is printed: name, type, help, values. This table and
// docs/metrics.md are one contract; a test compares them.
//
// Source: Prometheus text exposition format 0.0.4.

import Primitives

/// The table: `Exposition(…).text` is the body of `/metrics`.
public struct Exposition {
  private let shards: [MetricShard]
  private let facts: RelayFacts
  private let knownTypes: [String]
  private var writer = ExpositionWriter(prefix: "meshrelay_")

  /// - Parameters:
  ///   - shards: one per loop, in the loops' order; the position is the label `loop`.
  ///   - knownTypes: group/Kind of each built-in kind; every other type is counted as `other`.
  public init(shards: [MetricShard], facts: RelayFacts, knownTypes: some Sequence<String>) {
    self.shards = shards
    self.facts = facts
    self.knownTypes = knownTypes.sorted()
  }

  public var text: [UInt8] {
    var copy = self
    copy.writeClients()
    copy.writeDeliveries()
    copy.writeSnapshot()
    copy.writeState()
    copy.writeProcess()
    return copy.writer.bytes
  }

  private mutating func writeClients() {
    writer.family("clients", .gauge, "Verified clients connected.")
    writer.sample(total(.clients))
    writer.family("clients_lagging", .gauge, "Clients with a response not acknowledged in time.")
    writer.sample(total(.clientsLagging))
    writer.family("handshakes_total", .counter, "TLS handshakes with SVID verification, by how they ended.")
    for result in HandshakeResult.allCases {
      writer.sample(total(.handshakes(result)), label: "result", result.rawValue)
    }
    writer.family("resumed_handshakes_total", .counter, "Good handshakes that a session ticket made short.")
    writer.sample(total(.resumptions))
    writer.family("refused_total", .counter, "Verified peers turned away and streams ended, by reason.")
    for reason in RefusalReason.allCases {
      writer.sample(total(.refused(reason)), label: "reason", reason.rawValue)
    }
  }

  private mutating func writeDeliveries() {
    writer.family("requests_total", .counter, "Discovery requests received, by protocol.")
    for served in ServedDialect.allCases {
      writer.sample(total(.requests(served)), label: "protocol", served.rawValue)
    }
    writer.family("pushes_total", .counter, "Responses sent, by protocol.")
    for served in ServedDialect.allCases {
      writer.sample(total(.pushes(served)), label: "protocol", served.rawValue)
    }
    writer.family("pushed_bytes_total", .counter, "Bytes of responses sent, before TLS.")
    writer.sample(total(.pushedBytes))
    writer.family("acks_total", .counter, "Responses that clients acknowledged.")
    writer.sample(total(.acks))
    writer.family("nacks_total", .counter, "Responses that clients refused.")
    writer.sample(total(.nacks))
    writer.family("push_seconds", .histogram, "Time from publication to a client's acknowledgement.")
    writeHistogram(.push)
    writer.family("propagation_seconds", .histogram, "Time from publication at the origin to arrival here.")
    writeHistogram(.propagation)
  }

  private mutating func writeSnapshot() {
    writer.family("snapshot_resources", .gauge, "Resources in the newest snapshot, by type.")
    for (type, count) in resourcesByKnownType() { writer.sample(Double(count), label: "type", type) }
    writer.family("snapshot_sequence", .gauge, "Sequence of the newest snapshot within its origin.")
    if let sequence = facts.sequence { writer.sample(Double(sequence)) }
    writer.family("source_up", .gauge, "1 while the source has delivered and is reachable.")
    for source in facts.sources { writer.sample(source.isUp ? 1 : 0, label: "source", source.name) }
    writer.family("source_rejected", .gauge, "Resources of the source that are set aside.")
    for source in facts.sources { writer.sample(Double(source.rejected), label: "source", source.name) }
    writer.family("staleness_seconds", .gauge, "Time since the snapshot was last known to be the newest.")
    writer.sample(facts.staleness.inSeconds)
  }

  private mutating func writeState() {
    writer.family("svid_expiry_timestamp_seconds", .gauge, "When this relay's own SVID ends.")
    if let time = facts.svidExpiry { writer.sample(Double(time.seconds)) }
    writer.family(
      "survives_until_timestamp_seconds", .gauge,
      "How long this relay can go on if nothing renews its SVID and bundles.")
    if let time = facts.survivesUntil { writer.sample(Double(time.seconds)) }
    writer.family(
      "offline_goal_met", .gauge, "1 while SVID and bundle last for the offline goal; absent without a goal.")
    if let isMet = facts.isOfflineGoalMet { writer.sample(isMet ? 1 : 0) }
    writer.family(
      "clock_synchronized", .gauge, "1 while the kernel says that this host's clock is kept right.")
    if let isSynchronised = facts.isClockSynchronised { writer.sample(isSynchronised ? 1 : 0) }
    writer.family("config_ok", .gauge, "1 while the configuration in force is what the file says.")
    writer.sample(facts.configOK ? 1 : 0)
    writer.family("policy_ok", .gauge, "1 while the policy in force is what the files say.")
    writer.sample(facts.policyOK ? 1 : 0)
    writer.family(
      "state_ok", .gauge, "1 while the state folder takes what is served; absent where nothing is kept.")
    if let isOK = facts.stateOK { writer.sample(isOK ? 1 : 0) }
    writer.family(
      "ungranted_rules", .gauge, "Rules that allow what the tier above does not grant: all of it, or a part.")
    for (extent, count) in facts.ungrantedRules { writer.sample(Double(count), label: "extent", extent) }
    writer.family("shadow_ok", .gauge, "1 while the shadow policy is what its files say; absent without one.")
    if let shadow = facts.shadow { writer.sample(shadow.isOK ? 1 : 0) }
    writer.family("shadow_clusters", .gauge, "Clusters that the shadow policy would serve something else.")
    if let shadow = facts.shadow { writer.sample(Double(shadow.clusters)) }
    writer.family(
      "shadow_differences", .gauge,
      "Objects over all clusters that the shadow policy would add, change, remove.")
    for (change, count) in facts.shadow?.differences ?? [] {
      writer.sample(Double(count), label: "change", change)
    }
    writer.family("audit_ok", .gauge, "1 while audit records can be written, or none are asked for.")
    writer.sample(facts.auditOK ? 1 : 0)
    writer.family("audit_records_total", .counter, "Records written to the audit log.")
    if let audit = facts.audit { writer.sample(Double(audit.records)) }
    writer.family("audit_bytes_total", .counter, "Bytes written to the audit log.")
    if let audit = facts.audit { writer.sample(Double(audit.bytes)) }
    writer.family("audit_lost_total", .counter, "Records that could not be kept.")
    if let audit = facts.audit { writer.sample(Double(audit.lost)) }
    writer.family("audit_failures_total", .counter, "Times that writing the audit log failed.")
    if let audit = facts.audit { writer.sample(Double(audit.failures)) }
    writer.family("held_views", .gauge, "Clusters whose view the brake holds back.")
    writer.sample(Double(facts.heldViews))
    writer.family("pinned_clusters", .gauge, "Clusters pinned to a kept version.")
    writer.sample(Double(facts.pinnedClusters))
  }

  private mutating func writeProcess() {
    writer.family("loop_busy_ratio", .gauge, "Share of the last second a loop was not waiting.")
    for (index, shard) in shards.enumerated() {
      writer.sample(shard.busyFraction, label: "loop", String(index))
    }
    writer.family("memory_bytes", .gauge, "Resident memory of the process.")
    if let bytes = facts.memoryBytes { writer.sample(Double(bytes)) }
    writer.family("build_info", .gauge, "Always 1; the label is the program's version.")
    writer.sample(1, label: "version", facts.version)
  }

  private func total(_ counter: Counter) -> Double {
    Double(shards.reduce(UInt64(0)) { $0 &+ $1.value(of: counter) })
  }

  private func total(_ gauge: Gauge) -> Double {
    Double(shards.reduce(Int64(0)) { $0 &+ $1.value(of: gauge) })
  }

  private mutating func writeHistogram(_ histogram: Histogram) {
    var buckets = [UInt64](repeating: 0, count: MetricShard.bounds.count + 1)
    var sum: UInt64 = 0
    for shard in shards {
      let value = shard.value(of: histogram)
      for (index, count) in value.buckets.enumerated() { buckets[index] &+= count }
      sum &+= value.sum
    }
    var reached: UInt64 = 0
    for (index, count) in buckets.enumerated() {
      reached &+= count
      let bound = index < MetricShard.bounds.count ? Double(MetricShard.bounds[index]) / 1e9 : .infinity
      writer.sample(Double(reached), suffix: "_bucket", label: "le", ExpositionWriter.number(bound))
    }
    writer.sample(Double(sum) / 1e9, suffix: "_sum")
    writer.sample(Double(reached), suffix: "_count")
  }

  /// Sorted by type, with `other` last and only when there is one.
  private func resourcesByKnownType() -> [(String, Int)] {
    var known: [String: Int] = [:]
    var other = 0
    for (type, count) in facts.resources {
      if knownTypes.contains(type) { known[type, default: 0] += count } else { other += count }
    }
    return knownTypes.compactMap { type in known[type].map { (type, $0) } }
      + (other > 0 ? [("other", other)] : [])
  }
}
