// `meshrelay status` for people: a pure function from a relay's status and the time to text.
//
// What is wrong comes first and in words; what is well takes one line. Nothing here is a contract:
// scripts read `--json`.

public import Admin
public import Primitives

/// The whole table, with a newline at its end. `now` is the console's clock, for "3m ago".
public func statusTable(_ status: RelayStatus, now: Timestamp) -> String {
  var lines = ["\(status.node)  meshrelay \(status.version)  \(status.ready ? "ready" : "NOT READY")"]
  lines += status.reasons.map { "  not ready: \($0)" }
  lines.append("")
  lines += overview(status, now).lines()
  lines += warnings(status.policy)
  lines += ungranted(status.policy)
  lines += shadow(status.shadow)
  lines += section("SOURCES", sources(status.sources, now))
  lines += rejections(status.sources)
  lines += section("GATES", gates(status.gates, now))
  lines += section("CLIENTS", clients(status.clients, now))
  lines += section("PUSH", sinks(status.push, now))
  lines += nacks(status.clients)
  return lines.map(ForeignText.line).map { $0 + "\n" }.joined()
}

private func section(_ title: String, _ table: TextTable) -> [String] {
  table.rows.isEmpty ? [] : ["", title] + table.lines()
}

private func overview(_ status: RelayStatus, _ now: Timestamp) -> TextTable {
  var table = TextTable()
  if let identity = status.identity {
    table.add(
      "identity", identity.spiffeID,
      "expires \(age(of: identity.expiresAt, now)), trusts \(identity.trustDomains.joined(separator: " "))")
    table.add("survives", identity.survivesUntil.rfc3339, "if nothing renews its SVID and bundles")
    for warning in identity.warnings { table.add("", warning) }
  } else {
    table.add("identity", "none yet")
  }
  if let snapshot = status.snapshot {
    table.add(
      "snapshot", String(snapshot.version.prefix(12)),
      "\(snapshot.resources) resources, published \(age(of: snapshot.publishedAt, now))")
    let path = (snapshot.path.map(\.node) + [status.node]).joined(separator: " > ")
    table.add("origin", snapshot.origin, "sequence \(snapshot.sequence), via \(path)")
  } else {
    let delivered = status.sources.count { $0.state != .connecting && $0.state != .failed }
    table.add("snapshot", "none yet", "\(delivered) of \(status.sources.count) sources have delivered")
  }
  table.add(
    "config", fileState(status.config.state), fileDetail(status.config.loadedAt, status.config.error, now))
  table.add(
    "policy", fileState(status.policy.state), fileDetail(status.policy.loadedAt, status.policy.error, now))
  if let shadow = status.shadow {
    table.add("shadow", fileState(shadow.state), fileDetail(shadow.loadedAt, shadow.error, now))
  }
  table.add(
    "audit", status.audit.state.rawValue,
    status.audit.error ?? status.audit.head.map { "head \($0.prefix(12))" } ?? "")
  switch status.store.state {
  case .saving: table.add("state", "saving", "")
  case .failing: table.add("state", "NOT SAVED", status.store.error ?? "")
  case .off: table.add("state", "off", "nothing outlives a restart")
  }
  table.add("io", status.io, status.ioReason ?? "")
  return table
}

private func fileState(_ state: FileState) -> String {
  switch state {
  case .current: "current"
  case .refused: "REFUSED"
  case .lastGood: "LAST GOOD"
  case .none: "NONE"
  }
}

private func fileDetail(_ loadedAt: Timestamp?, _ error: String?, _ now: Timestamp) -> String {
  [loadedAt.map { "loaded \(age(of: $0, now))" }, error].compactMap { $0 }.joined(separator: "; ")
}

private func sources(_ sources: [SourceStatus], _ now: Timestamp) -> TextTable {
  var table = TextTable(header: ["NAME", "KIND", "STATE", "SINCE", "RESOURCES", "REJECTED", "LAST ERROR"])
  for source in sources {
    let state = source.state == .synced ? source.state.rawValue : source.state.rawValue.uppercased()
    table.add(
      source.name, source.kind, state, age(of: source.since, now), String(source.resources),
      String(source.rejectedTotal), source.lastError ?? "-")
  }
  return table
}

/// What a shadow policy would change, the first few.
private func shadow(_ shadow: ShadowStatus?) -> [String] {
  guard let shadow, shadow.clustersTotal > 0 || shadow.identitiesTotal > 0 || isBeingCounted(shadow) else {
    return []
  }
  var table = TextTable(header: ["CLUSTER", "WOULD CHANGE"])
  for entry in shadow.clusters.prefix(10) {
    table.add(entry.cluster, "+\(entry.added) ~\(entry.changed) -\(entry.removed)")
  }
  var lines = section("SHADOW POLICY", table)
  if isBeingCounted(shadow) { lines.append("  what it would change is being counted") }
  if shadow.clustersTotal > 10 { lines.append("  and \(shadow.clustersTotal - 10) more clusters") }
  lines += shadow.identities.prefix(10).map { "  \($0)" }
  if shadow.identitiesTotal > 10 { lines.append("  and \(shadow.identitiesTotal - 10) more identities") }
  return lines
}

/// There are rules, and what they come to is not known yet.
private func isBeingCounted(_ shadow: ShadowStatus) -> Bool { shadow.hash != nil && !shadow.counted }

/// What of the policy hardly means what was intended, the first few. They say themselves that they are warnings.
private func warnings(_ policy: PolicyStatus) -> [String] {
  let shown = policy.warnings.prefix(10)
  guard !shown.isEmpty else { return [] }
  let rest = policy.warningsTotal - shown.count
  return ["", "POLICY WARNINGS"] + shown.map { "  \($0)" } + (rest > 0 ? ["  and \(rest) more"] : [])
}

/// Rules that can never give all they say, the first few.
private func ungranted(_ policy: PolicyStatus) -> [String] {
  let shown = policy.ungranted.prefix(10)
  guard !shown.isEmpty else { return [] }
  var lines = ["", "UNGRANTED: rules that allow what the tier above does not grant this relay"]
  lines += shown.map { rule in
    let rest = rule.clustersTotal - rule.clusters.count
    return "  \(rule.place)  \(rule.extent), such as \(rule.example)  "
      + rule.clusters.prefix(5).joined(separator: " ")
      + (rule.clustersTotal > 5 ? " and \(rest + rule.clusters.count - 5) more" : "")
  }
  if policy.ungrantedTotal > shown.count { lines.append("  and \(policy.ungrantedTotal - shown.count) more") }
  return lines
}

/// The first few of each source: enough to start mending; `--json` has them all.
private func rejections(_ sources: [SourceStatus]) -> [String] {
  sources.flatMap { source -> [String] in
    let shown = source.rejected.prefix(10)
    guard !shown.isEmpty else { return [] }
    var lines = ["", "REJECTED BY \(source.name)"]
    lines += shown.map { "  \($0.place)  \($0.resource)  \($0.reason)" }
    if source.rejectedTotal > shown.count { lines.append("  and \(source.rejectedTotal - shown.count) more") }
    return lines
  }
}

private func gates(_ gates: [GateStatus], _ now: Timestamp) -> TextTable {
  var table = TextTable(header: ["GATE", "CLUSTER", "VERSION", "SINCE", "HOLDS BACK", "REASON"])
  for gate in gates {
    table.add(
      gate.kind.rawValue, gate.cluster ?? "(all)", gate.version.map { String($0.prefix(12)) } ?? "-",
      age(of: gate.since, now),
      "+\(gate.heldBack.added) ~\(gate.heldBack.changed) -\(gate.heldBack.removed)", gate.reason)
  }
  return table
}

private func clients(_ clients: [ClientStatus], _ now: Timestamp) -> TextTable {
  var table = TextTable(
    header: ["SPIFFE ID", "CLUSTER", "ADDRESS", "PROTOCOL", "SINCE", "TYPES", "CURRENT", "NACKS"])
  for client in clients {
    let subscriptions = client.types.values
    let current = subscriptions.count { $0.sent != nil && $0.sent == $0.acked }
    table.add(
      client.spiffeID, client.cluster, client.address, client.protocol, age(of: client.connectedAt, now),
      String(subscriptions.count), String(current), String(subscriptions.reduce(0) { $0 + $1.nacks }))
  }
  return table
}

private func sinks(_ sinks: [SinkStatus], _ now: Timestamp) -> TextTable {
  var table = TextTable(header: ["ADDRESS", "MUST BE", "STATE", "SINCE", "LAST ERROR"])
  for sink in sinks {
    let state = sink.state == .serving ? sink.state.rawValue : sink.state.rawValue.uppercased()
    table.add(sink.address, sink.spiffeID, state, age(of: sink.since, now), sink.lastError ?? "-")
  }
  return table
}

private func nacks(_ clients: [ClientStatus]) -> [String] {
  let lines = clients.flatMap { client in
    client.types.sorted { $0.key < $1.key }.compactMap { typeURL, subscription in
      subscription.lastNack.map { "  \(client.spiffeID)  \(typeURL)  \($0)" }
    }
  }
  return lines.isEmpty ? [] : ["", "LAST NACKS"] + lines
}

/// `3m ago`, `in 23h`, `now`: one unit, because a table is read at a glance.
func age(of time: Timestamp, _ now: Timestamp) -> String {
  let (difference, overflow) = now.seconds.subtractingReportingOverflow(time.seconds)
  guard !overflow, difference != .min else { return "long ago" }
  let seconds = abs(difference)
  let text =
    switch seconds {
    case 0: "now"
    case 1..<120: "\(seconds)s"
    case 120..<7_200: "\(seconds / 60)m"
    case 7_200..<172_800: "\(seconds / 3_600)h"
    default: "\(seconds / 86_400)d"
    }
  if seconds == 0 { return text }
  return difference > 0 ? text + " ago" : "in " + text
}
