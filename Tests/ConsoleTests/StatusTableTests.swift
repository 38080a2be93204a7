// Goal: an operator sees at a glance what is wrong, and foreign text cannot touch the terminal.
// Method: the table of a status in trouble and of a bare one, compared as text; the clock is a parameter.

import Admin
import Console
import Primitives
import Testing

struct StatusTableTests {
  static let now = Timestamp(seconds: 1_790_000_000)

  static func before(_ seconds: Int64) -> Timestamp { Timestamp(seconds: now.seconds - seconds) }

  @Test func aRelayInTroubleSaysSo() {
    let status = RelayStatus(
      node: "edge-1", version: "0.1.0", readiness: Readiness(reasons: ["audit cannot be written"]),
      identity: IdentityStatus(
        spiffeID: "spiffe://td/edge", expiresAt: Self.before(-82_800), survivesUntil: Self.before(-3600),
        trustDomains: ["td"]),
      config: ConfigStatus(state: .refused, loadedAt: Self.before(200), error: "m.yaml:3:1: unknown key"),
      policy: PolicyStatus(
        state: .current, loadedAt: Self.before(1), hash: "abc",
        warnings: (1...12).map { "p.yaml:\($0):1: warning: no cluster uses the role \"r\"" }),
      snapshot: SnapshotStatus(
        version: "0123456789abcdef", origin: "mesh", sequence: 7, resources: 3,
        publishedAt: Self.before(86_400 * 3), path: [SnapshotStatus.Hop(instance: "u", node: "central")]),
      sources: [
        SourceStatus(
          name: "central", kind: "upstream", state: .stale, since: Self.before(61), resources: 3,
          rejected: (1...11).map {
            SourceStatus.Rejection(place: "a.yaml:\($0):1", resource: "g/K ns/n", reason: "bad")
          },
          lastError: "refused")
      ],
      clients: [
        ClientStatus(
          spiffeID: "spiffe://td/a", cluster: "a", address: "10.0.0.1:5", protocol: "delta",
          connectedAt: Self.before(0),
          types: [
            "g/v1/K": ClientStatus.Subscription(
              sent: "v2", acked: "v1", nacks: 1, lastNack: "no\u{1B}[2J\nx"),
            "g/v1/L": ClientStatus.Subscription(sent: "v1", acked: "v1"),
          ])
      ],
      push: [
        SinkStatus(
          address: "pilot:9901", spiffeID: "spiffe://td/pilot", state: .refused, since: Self.before(61),
          lastError: "no cluster")
      ],
      gates: [
        GateStatus(kind: .held, cluster: "a", version: nil, since: Self.before(5), reason: "21 % removed")
      ],
      audit: AuditStatus(state: .failing, error: "no space"),
      store: StoreStatus(state: .failing, error: "no room"), io: "epoll", ioReason: "EPERM")
    let expected = """
      edge-1  meshrelay 0.1.0  NOT READY
        not ready: audit cannot be written

        identity  spiffe://td/edge      expires in 23h, trusts td
        survives  2026-09-21T15:13:20Z  if nothing renews its SVID and bundles
        snapshot  0123456789ab          3 resources, published 3d ago
        origin    mesh                  sequence 7, via central > edge-1
        config    REFUSED               loaded 3m ago; m.yaml:3:1: unknown key
        policy    current               loaded 1s ago
        audit     failing               no space
        state     NOT SAVED             no room
        io        epoll                 EPERM

      POLICY WARNINGS
      \((1...10).map { "  p.yaml:\($0):1: warning: no cluster uses the role \"r\"" }.joined(separator: "\n"))
        and 2 more

      SOURCES
        NAME     KIND      STATE  SINCE    RESOURCES  REJECTED  LAST ERROR
        central  upstream  STALE  61s ago  3          11        refused

      REJECTED BY central
      \((1...10).map { "  a.yaml:\($0):1  g/K ns/n  bad" }.joined(separator: "\n"))
        and 1 more

      GATES
        GATE  CLUSTER  VERSION  SINCE   HOLDS BACK  REASON
        held  a        -        5s ago  +0 ~0 -0    21 % removed

      CLIENTS
        SPIFFE ID      CLUSTER  ADDRESS     PROTOCOL  SINCE  TYPES  CURRENT  NACKS
        spiffe://td/a  a        10.0.0.1:5  delta     now    2      1        1

      PUSH
        ADDRESS     MUST BE            STATE    SINCE    LAST ERROR
        pilot:9901  spiffe://td/pilot  REFUSED  61s ago  no cluster

      LAST NACKS
        spiffe://td/a  g/v1/K  no\\u{1b}[2J\\u{a}x

      """
    #expect(statusTable(status, now: Self.now) == expected)
  }

  @Test func aFirstSyncShowsItsProgress() {
    let status = RelayStatus(
      node: "n", version: "v", readiness: Readiness(), config: ConfigStatus(state: .current),
      policy: PolicyStatus(state: .none),
      sources: [
        SourceStatus(name: "a", kind: "directory", state: .synced, since: Self.now),
        SourceStatus(name: "b", kind: "upstream", state: .connecting, since: Self.now),
      ], audit: AuditStatus(state: .off), io: "io_uring")
    let table = statusTable(status, now: Self.now)
    #expect(table.contains("snapshot  none yet  1 of 2 sources have delivered\n"))
    #expect(table.contains("identity  none yet\n"))
    #expect(table.contains("policy    NONE\n"))
    #expect(!table.contains("CLIENTS") && !table.contains("GATES"))
  }

  @Test func timesFarApartDoNotTrap() {
    let status = RelayStatus(
      node: "n", version: "v", readiness: Readiness(),
      config: ConfigStatus(state: .current, loadedAt: Timestamp(seconds: .min)),
      policy: PolicyStatus(state: .current, loadedAt: Timestamp(seconds: .max)),
      audit: AuditStatus(state: .off), io: "io_uring")
    let table = statusTable(status, now: Timestamp(seconds: 0))
    #expect(table.contains("config    current   loaded long ago"))
    #expect(table.contains("policy    current   loaded in "))
  }
}
