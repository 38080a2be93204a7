// Goal: every key of the file of `serve` is read into the value it says, with its default; DESIGN.md §5.
// Method: the smallest file, the fullest file, and each key alone.

import Documents
import Policy
import Primitives
import SPIFFE
import Testing

@testable import Configuration

/// The smallest sound file; `extra` follows it.
func minimal(_ extra: String = "") -> String {
  """
  identity: {files: {svid: svid.pem, key: svid.key}, bundles: {example.org: bundle.pem}}
  sources: [{name: local, directory: {path: manifests}}]
  listen: [{address: "0.0.0.0:15010"}]
  policy: policy.yaml

  """ + extra
}

func read(_ text: String, file: String = "/etc/meshrelay/c.yaml") -> (RelayConfiguration?, [String]) {
  let (configuration, problems) = RelayConfiguration.parse(Array(text.utf8), file: file)
  return (configuration, problems.map(\.description))
}

struct RelayConfigurationTests {
  @Test func theSmallestFileHasTheDefaultsOfTheContract() throws {
    let (found, problems) = read(minimal())
    #expect(problems == [])
    let configuration = try #require(found)
    #expect(configuration.node == nil)
    #expect(configuration.origin == nil)
    #expect(
      configuration.identity.source
        == .files(svid: "/etc/meshrelay/svid.pem", key: .file("/etc/meshrelay/svid.key")))
    #expect(
      configuration.identity.bundles.map { "\($0.trustDomain)=\($0.path)" } == [
        "example.org=/etc/meshrelay/bundle.pem"
      ])
    #expect(configuration.policyPath == "/etc/meshrelay/policy.yaml")
    #expect(configuration.shadowPath == nil)
    #expect(configuration.state == nil)
    #expect(configuration.tlsMinimum == .tls13)
    #expect(configuration.admin == [.unix(path: "/run/meshrelay/admin.sock")])
    #expect(configuration.staleAfter == nil)
    #expect(configuration.audit == nil)
    #expect(configuration.publish == PublishSettings())
    #expect(configuration.history == HistorySettings())
    #expect(configuration.loops == 0)
    #expect(configuration.limits == Limits())
    #expect(configuration.listen.map { "\($0)" } == ["0.0.0.0:15010"])
    let source = try #require(configuration.sources.first)
    guard case .directory(let path) = source.kind else {
      Issue.record("the source is a directory")
      return
    }
    #expect(path == "/etc/meshrelay/manifests")
    #expect(source.only.namespaces == nil && source.only.types == nil)
  }

  @Test func theFullestFileThatIsBuilt() throws {
    let text = """
      node: edge-1
      identity:
        files: { svid: /run/svid.pem, key: {credential: svid-key} }
        bundles: { example.org: bundle.pem, another.org: /b.json }
      sources:
        - name: central
          upstream:
            addresses: ["central-1.example.org:15010", "10.0.0.2:15010", "[::1]:15010"]
            spiffeID: spiffe://example.org/mcp/*
            protocol: sotw
            types: ["networking.istio.io/*"]
          only: { namespaces: ["*", ""], types: ["*"] }
        - name: local
          directory: { path: manifests }
      origin: mesh-prod
      listen:
        - address: "[::]:0"
        - socket: relay
      tls: { minimum: 1.2 }
      policy: policy
      shadow: next.yaml
      state: state
      staleAfter: { after: 24h, then: unready }
      admin: ["unix:///run/a.sock", "127.0.0.1:15014", "[::1]:0"]
      publish: { quiet: 50ms, max: 500ms }
      brake: { removes: 35%, atLeast: 5, most: 90, window: 1m }
      history: { versions: 7, keep: 2h }
      audit: { path: log/a.jsonl, maxBytes: 2MiB, keep: 3d, onFailure: continue, sync: true, journal: all }
      loops: 3
      limits: { clients: 10, messageBytes: 1MiB, drain: 1m30s }
      """
    let (found, problems) = read(text)
    #expect(problems == [])
    let configuration = try #require(found)
    #expect(configuration.node == "edge-1")
    #expect(configuration.origin == "mesh-prod")
    guard case .files(_, let key) = configuration.identity.source else {
      Issue.record("the identity is in files")
      return
    }
    #expect(key.path(credentialsFolder: "/run/credentials/x") == "/run/credentials/x/svid-key")
    #expect(key.path(credentialsFolder: nil) == nil)
    #expect(configuration.identity.bundles.map(\.trustDomain.name) == ["another.org", "example.org"])
    #expect(configuration.tlsMinimum == .tls12)
    #expect(configuration.shadowPath == "/etc/meshrelay/next.yaml")
    #expect(configuration.state == "/etc/meshrelay/state")
    let audit = try #require(configuration.audit)
    #expect(audit.path == "/etc/meshrelay/log/a.jsonl" && audit.maxBytes == 2 << 20 && audit.sync)
    #expect(audit.keep == .seconds(3 * 86_400) && audit.onFailure == .continue && audit.journal == .all)
    #expect(configuration.staleAfter == StaleSettings(after: .seconds(86_400), then: .unready))
    #expect(configuration.admin.count == 3)
    #expect(configuration.publish.quiet == .milliseconds(50))
    #expect(configuration.publish.max == .milliseconds(500))
    #expect(configuration.brake == BrakeSettings(removes: 35, atLeast: 5, most: 90, window: .seconds(60)))
    #expect(configuration.history == HistorySettings(versions: 7, keep: .seconds(7_200)))
    #expect(configuration.loops == 3)
    #expect(configuration.limits.clients == 10)
    #expect(configuration.limits.clientsPerIdentity == 10, "never more than clients, unless said")
    #expect(configuration.limits.messageBytes == 1 << 20)
    #expect(configuration.limits.drain == .seconds(90))
    #expect(configuration.listen.map { "\($0)" } == ["[::]:0", "socket relay"])
    let source = try #require(configuration.sources.first)
    guard case .upstream(let upstream) = source.kind else {
      Issue.record("the source is an upstream")
      return
    }
    #expect(
      upstream.addresses.map(\.description) == [
        "central-1.example.org:15010", "10.0.0.2:15010", "[::1]:15010",
      ])
    guard case .workload(let peer) = upstream.server else {
      Issue.record("not known by its SPIFFE ID")
      return
    }
    #expect(peer.description == "spiffe://example.org/mcp/*")
    #expect(upstream.dialect == .sotw)
    #expect(upstream.types?.map(\.description) == ["networking.istio.io/*"])
    #expect(source.only.namespaces?.matches("") == true)
    #expect(source.only.types?.map(\.description) == ["*"])
  }

  @Test func upstreamsOfOtherMakes() throws {
    let (configuration, problems) = read(
      """
      identity: {files: {svid: svid.pem, key: svid.key}, bundles: {example.org: bundle.pem}}
      sources:
        - name: istiod
          upstream: { addresses: ["istiod.istio-system.svc:15012"], dnsName: istiod.istio-system.svc, ca: root.pem, protocol: sotw, generated: true }
          expandHosts: cluster.local
        - name: galley
          upstream: { addresses: ["galley:9901"], spiffeID: spiffe://td/galley, protocol: mcp }
        - name: pilot
          upstream: { addresses: ["old:9901"], spiffeID: spiffe://td/old, protocol: mcp-aggregated }
      listen: [{address: "0.0.0.0:15010"}]
      policy: policy.yaml
      """, file: "/etc/meshrelay/meshrelay.yaml")
    #expect(problems == [])
    let sources = try #require(configuration?.sources)
    guard case .upstream(let istiod) = sources[0].kind, case .upstream(let galley) = sources[1].kind,
      case .upstream(let pilot) = sources[2].kind, case .host(let name, let ca) = istiod.server
    else {
      Issue.record("not what was written")
      return
    }
    #expect(name == "istiod.istio-system.svc" && ca == "/etc/meshrelay/root.pem" && istiod.takesGenerated)
    #expect(istiod.dialect == .sotw && galley.dialect == .mcp && pilot.dialect == .mcpAggregated)
    #expect(sources.map(\.expandHosts) == ["cluster.local", nil, nil] && !galley.takesGenerated)
  }

  @Test func anIstiodByDeltaIsAWarning() {
    let text = minimal().replacing(
      "{name: local, directory: {path: manifests}}",
      with: "{name: a, upstream: {addresses: [\"h:1\"], dnsName: h, ca: c}}")
    let (configuration, problems) = read(text, file: "c")
    #expect(configuration != nil)
    #expect(
      problems == [
        "c:2:31: warning: sources.upstream.protocol is delta for an upstream that is known by its dnsName, an istiod does not push every change, and can be asked again by sotw only, write protocol: sotw"
      ])
  }

  @Test func theContractsOwnExampleIsRefusedOnlyForWhatIsNotBuilt() {
    let text = """
      node: edge-1
      identity:
        workloadAPI: unix:///run/spire/agent/public/api.sock
        bundles: { example.org: bundle.pem }
        select: { hint: relay }
        federation: [{ trustDomain: partner.org, url: "https://…", profile: https_spiffe, spiffeID: "spiffe://partner.org/spire" }]
        offlineGoal: 24h
      sources:
        - name: central
          upstream:
            addresses: ["central-1.example.org:15010", "central-2.example.org:15010"]
            spiffeID: spiffe://example.org/mcp/central
            protocol: delta
            types: ["networking.istio.io/*"]
          only: { namespaces: ["*"], types: ["*"] }
        - name: istiod
          upstream: { addresses: ["istiod.istio-system.svc:15012"], dnsName: istiod.istio-system.svc, ca: root.pem, protocol: sotw }
        - name: local
          directory: { path: manifests }
        - name: gitops
          git: { url: "https://git.example.org/mesh.git", branch: main, path: config/, interval: 30s }
        - name: store
          etcd: { endpoints: ["https://10.0.0.5:2379"], prefix: /mesh/, ca: ca.pem, certificate: c.pem, key: c.key }
      origin: mesh-prod
      listen:
        - address: "0.0.0.0:15010"
      push: [{ address: "pilot.old:9901", spiffeID: spiffe://example.org/pilot }]
      tls: { minimum: "1.3" }
      policy: policy.yaml
      state: /var/lib/meshrelay
      staleAfter: { after: 24h, then: alarm }
      admin: unix:///run/meshrelay/admin.sock
      audit: { path: /var/log/meshrelay/audit.jsonl, maxBytes: 256MiB, keep: 30d, onFailure: stop, sync: false }
      publish: { quiet: 100ms, max: 1s }
      brake: { removes: 20%, atLeast: 10, most: 500, window: 10m }
      history: { versions: 100, keep: 7d }
      loops: 0
      limits: { clients: 10000, clientsPerIdentity: 64, messageBytes: 256MiB, requestBytes: 4MiB, resourceBytes: 1MiB, drain: 5s }
      """
    let (configuration, problems) = read(text, file: "c")
    #expect(configuration == nil)
    #expect(
      problems == [
        "c:6:49: identity.federation.url is \"https://…\", which has no host name or IP address before the port, write it like https://partner.org/bundle.json",
        "c:21:5: sources.git is not built into this version yet, remove it",
        "c:23:5: sources.etcd is not built into this version yet, remove it",
      ])
  }

  @Test func sinksToDialAreReadAndHeldAgainstThePolicy() throws {
    let (found, problems) = read(
      minimal(
        """
        push:
          - {address: "pilot.old:9901", spiffeID: spiffe://example.org/pilot}
          - {address: "10.0.0.9:9901", spiffeID: "spiffe://partner.org/*"}
        """), file: "c")
    #expect(problems == [])
    let configuration = try #require(found)
    #expect(
      configuration.push.map { "\($0.address) \($0.spiffeID)" } == [
        "pilot.old:9901 spiffe://example.org/pilot", "10.0.0.9:9901 spiffe://partner.org/*",
      ])
    let policy = "clusters: [{name: old, identities: [\"spiffe://example.org/*\"], allow: [{}]}]"
    let rules = try #require(PolicyRules.parse(policy, file: "policy.yaml").rules)
    #expect(
      configuration.problems(with: rules).map(\.description) == [
        "c:7:5: warning: no cluster of the policy has an identity like spiffe://partner.org/*, a sink is served what policy grants its identity, and refused otherwise, add it to a cluster"
      ])
  }

  @Test func everyLimitIsAKeyAndHasItsDefaultInRange() throws {
    let properties = Mirror(reflecting: Limits()).children.compactMap(\.label)
    #expect(properties.sorted() == LimitSettings.names.sorted())
    let values = Mirror(reflecting: Limits()).children.map { child in
      let name = child.label ?? ""
      if let duration = child.value as? Duration { return "\(name): \(GoDuration.text(duration))" }
      let number = child.value as? Int ?? -1
      return name.hasSuffix("Bytes") ? "\(name): \(ByteSize.text(number))" : "\(name): \(number)"
    }
    let (configuration, problems) = read(minimal("limits: {\(values.joined(separator: ", "))}"))
    #expect(problems == [])
    #expect(configuration?.limits == Limits())
  }

  @Test func aReloadSaysWhatNeedsARestart() throws {
    let running = try #require(read(minimal()).0)
    let changed = try #require(read(minimal("node: x\nadmin: unix:///a\nstate: s\nloops: 4\n")).0)
    #expect(running.keysThatNeedRestart(since: running) == [])
    #expect(changed.keysThatNeedRestart(since: running) == ["node", "state", "admin", "loops"])
    let bound = try #require(
      read(
        minimal(
          "tls: { minimum: \"1.2\" }\nlimits: { clients: 7, workerMailbox: 64 }\npublish: { quiet: 5ms }\n")
      ).0)
    #expect(bound.keysThatNeedRestart(since: running) == ["limits.workerMailbox"])
    func audited(_ text: String) throws -> RelayConfiguration { try #require(read(minimal(text)).0) }
    let first = try audited("audit: {path: /a}\n")
    #expect(first.keysThatNeedRestart(since: running) == ["audit"])
    let other = "audit: {path: /b, maxBytes: 1MiB, keep: 2d, onFailure: continue, sync: true, journal: all}\n"
    #expect(try audited(other).keysThatNeedRestart(since: first) == [])
  }

  @Test func rulesThatNameNoSourceAreWarnedOf() throws {
    let configuration = try #require(read(minimal()).0)
    let policy =
      "clusters: [{name: a, identities: [\"spiffe://td/a\"], allow: [{sources: [locl]}, {sources: [local]}]}]"
    let rules = try #require(PolicyRules.parse(policy, file: "p").rules)
    #expect(
      configuration.problems(with: rules).map(\.description) == [
        "p:1:61: warning: this rule names the source \"locl\", which /etc/meshrelay/c.yaml does not have, did you mean \"local\"?"
      ])
  }
}
