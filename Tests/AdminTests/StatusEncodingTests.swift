// Goal: `/status` keeps the names and shapes that scripts rely on.
// Method: one full and one empty status are encoded; the text is compared with the contract, and read
// back by the compiler-made decoder, which has to give the same value.

import Admin
import FoundationEssentials
import Primitives
import Testing

struct StatusEncodingTests {
  static let time = Timestamp(seconds: 1_790_000_000, nanoseconds: 250_000_000)

  static let full = RelayStatus(
    node: "edge-1", version: "0.1.0", readiness: Readiness(reasons: ["audit cannot be written"]),
    identity: IdentityStatus(
      spiffeID: "spiffe://example.org/mcp/edge", expiresAt: time, survivesUntil: time,
      trustDomains: ["example.org", "partner.org"], warnings: ["the agent is away"]),
    config: ConfigStatus(state: .refused, loadedAt: time, error: "meshrelay.yaml:3:1: unknown key"),
    policy: PolicyStatus(
      state: .current, loadedAt: time, hash: "abc",
      ungranted: [UngrantedStatus(place: "p.yaml:3:5", extent: "part", clusters: ["a"], example: "x/Y ns/n")],
      warnings: ["p.yaml:4:1: warning: no cluster uses the role \"r\""]),
    shadow: ShadowStatus(
      state: .refused, loadedAt: time, hash: "abd", error: "no",
      clusters: [.init(cluster: "a", added: 1, changed: 2, removed: 3)],
      identities: ["spiffe://td/a: a → nobody"]),
    snapshot: SnapshotStatus(
      version: "00ff", origin: "mesh-prod", sequence: .max, resources: 3, publishedAt: time,
      path: [SnapshotStatus.Hop(instance: "u-1", node: "central")]),
    sources: [
      SourceStatus(
        name: "central", kind: "upstream", state: .stale, since: time, resources: 3,
        rejected: [
          SourceStatus.Rejection(place: "a.yaml:1:2", resource: "x/Y ns/n", reason: "bad \"name\"\n")
        ],
        lastError: "connection refused", address: "10.0.0.2:15010")
    ],
    clients: [
      ClientStatus(
        spiffeID: "spiffe://example.org/a", cluster: "a", address: "10.0.0.1:5", protocol: "delta",
        connectedAt: time,
        types: [
          "z/v1/Z": ClientStatus.Subscription(),
          "a/v1/A": ClientStatus.Subscription(sent: "v2", acked: "v1", nacks: 1, lastNack: "no"),
        ])
    ],
    push: [
      SinkStatus(
        address: "pilot.old:9901", spiffeID: "spiffe://example.org/pilot", state: .refused, since: time,
        lastError: "no cluster")
    ],
    gates: [
      GateStatus(
        kind: .rolledBack, cluster: nil, version: "00fe", since: time, reason: "asked",
        heldBack: .init(added: 1, changed: 2, removed: 3))
    ],
    audit: AuditStatus(state: .failing, head: "beef", error: "no space"),
    store: StoreStatus(state: .failing, error: "no room"), io: "io_uring")

  static let empty = RelayStatus(
    node: "n", version: "v", readiness: Readiness(), config: ConfigStatus(state: .current),
    policy: PolicyStatus(state: .none), audit: AuditStatus(state: .off), io: "epoll", ioReason: "EPERM")

  @Test func fullStatusIsTheContract() {
    let text = String(decoding: Self.full.json, as: UTF8.self)
    let time = #""2026-09-21T14:13:20.25Z""#
    #expect(
      text == #"{"node":"edge-1","version":"0.1.0","ready":false,"reasons":["audit cannot be written"],"#
        + #""identity":{"spiffeID":"spiffe://example.org/mcp/edge","expiresAt":\#(time),"survivesUntil":\#(time),"#
        + #""trustDomains":["example.org","partner.org"],"warnings":["the agent is away"]},"#
        + #""config":{"state":"refused","loadedAt":\#(time),"error":"meshrelay.yaml:3:1: unknown key"},"#
        + #""policy":{"state":"current","loadedAt":\#(time),"hash":"abc","error":null,"#
        + #""ungranted":[{"place":"p.yaml:3:5","extent":"part","clusters":["a"],"clustersTotal":1,"#
        + #""example":"x/Y ns/n"}],"ungrantedTotal":1,"#
        + #""warnings":["p.yaml:4:1: warning: no cluster uses the role \"r\""],"warningsTotal":1},"#
        + #""shadow":{"state":"refused","loadedAt":\#(time),"hash":"abd","error":"no","counted":true,"#
        + #""clusters":[{"cluster":"a","added":1,"changed":2,"removed":3}],"clustersTotal":1,"#
        + #""identities":["spiffe://td/a: a → nobody"],"identitiesTotal":1},"#
        + #""snapshot":{"version":"00ff","origin":"mesh-prod","sequence":18446744073709551615,"resources":3,"#
        + #""publishedAt":\#(time),"path":[{"instance":"u-1","node":"central"}]},"#
        + #""sources":[{"name":"central","kind":"upstream","state":"stale","since":\#(time),"resources":3,"#
        + #""rejected":[{"place":"a.yaml:1:2","resource":"x/Y ns/n","reason":"bad \"name\"\n"}],"rejectedTotal":1,"#
        + #""lastError":"connection refused","address":"10.0.0.2:15010"}],"#
        + #""clients":[{"spiffeID":"spiffe://example.org/a","cluster":"a","address":"10.0.0.1:5","protocol":"delta","#
        + #""connectedAt":\#(time),"types":{"a/v1/A":{"sent":"v2","acked":"v1","nacks":1,"lastNack":"no"},"#
        + #""z/v1/Z":{"sent":null,"acked":null,"nacks":0,"lastNack":null}}}],"#
        + #""push":[{"address":"pilot.old:9901","spiffeID":"spiffe://example.org/pilot","state":"refused","#
        + #""since":\#(time),"lastError":"no cluster"}],"#
        + #""gates":[{"kind":"rolledBack","cluster":null,"version":"00fe","since":\#(time),"reason":"asked","#
        + #""heldBack":{"added":1,"changed":2,"removed":3}}],"#
        + #""audit":{"state":"failing","head":"beef","error":"no space"},"#
        + #""store":{"state":"failing","error":"no room"},"io":"io_uring","ioReason":null}"#)
  }

  @Test func whatIsNotKnownIsNull() {
    let text = String(decoding: Self.empty.json, as: UTF8.self)
    #expect(text.contains(#""identity":null"#))
    #expect(text.contains(#""snapshot":null"#))
    #expect(text.contains(#""sources":[],"clients":[],"push":[],"gates":[]"#))
    #expect(text.contains(#""ready":true,"reasons":[]"#))
  }

  @Test(arguments: [full, empty]) func readsBackAsItWas(_ status: RelayStatus) throws {
    let back = try JSONDecoder().decode(RelayStatus.self, from: Data(status.json))
    #expect(back == status)
  }

  @Test func listsTheFirstThousandRejectionsAndCountsAll() {
    let many = (0..<1_500).map { SourceStatus.Rejection(place: "f:\($0):1", resource: "", reason: "r") }
    let source = SourceStatus(
      name: "s", kind: "directory", state: .synced, since: Self.time, rejected: many)
    #expect(source.rejected.count == 1_000)
    #expect(source.rejected.last?.place == "f:999:1")
    #expect(source.rejectedTotal == 1_500)
  }

  @Test func listsTheFirstHundredWarningsAndCountsAll() {
    let policy = PolicyStatus(state: .current, warnings: (0..<150).map { "w\($0)" })
    #expect(policy.warnings.count == 100 && policy.warnings.last == "w99" && policy.warningsTotal == 150)
  }

  @Test func readinessIsDecidedByItsReasons() {
    #expect(AdminReply.readiness(Readiness()).status == 200)
    let reply = AdminReply.readiness(Readiness(reasons: ["no SVID"]))
    #expect(reply.status == 503)
    #expect(String(decoding: reply.body, as: UTF8.self) == #"{"ready":false,"reasons":["no SVID"]}"#)
  }
}
