// Goal: the file of `connect` becomes a leaf that follows one relay and serves all of it to this host, and the
// file of `serve` never becomes anything that listens without TLS. Method: texts in, plans and rules out.

import Configuration
import Documents
import Downstream
import Gates
import Policy
import SPIFFE
import Snapshots
import TLS
import Testing
import Transport
import XDS

@testable import Tier

private let host = HostFacts(name: "pod-7", credentialsFolder: nil)

private func companion(_ extra: String = "") throws -> CompanionConfiguration {
  let text = """
    identity:
      files: {svid: svid.pem, key: svid.key}
      bundles: {example.org: a.pem, partner.org: b.pem}
    relay: {addresses: ["edge-1:15010", "10.0.0.2:15010"], spiffeID: "spiffe://example.org/edge/*"}

    """ + extra
  let (configuration, problems) = CompanionConfiguration.parse(Array(text.utf8), file: "/etc/c.yaml")
  #expect(problems.isEmpty)
  return try #require(configuration)
}

private let gateway = ResourceFacts(
  type: TypeName(group: "networking.istio.io", kind: "Gateway"), namespace: "shop", name: "entry",
  labels: [("team", "a")], source: "relay")

struct CompanionMappingTests {
  @Test func oneUpstreamInTheOrderOfTheFile() throws {
    let plan = try TierPlan(try companion(), host: host)
    #expect(plan.sources.count == 1)
    let source = try #require(plan.sources.first)
    guard case .upstream(let upstream) = source.kind else {
      Issue.record("the source is no upstream")
      return
    }
    #expect(upstream.endpoints.map(\.description) == ["edge-1:15010", "10.0.0.2:15010"])
    #expect(upstream.server == .workload(try SPIFFEPattern(parsing: "spiffe://example.org/edge/*")))
    #expect(upstream.dialect == .discovery(.delta))
    #expect(upstream.kinds.count == (Kinds.all + Kinds.classic).count)
    #expect(source.only == SourceFilter())
    #expect(plan.minimumTLS == .tls13)
  }

  @Test func theNodeIsTheHostUnlessTheFileSaysOtherwise() throws {
    #expect(try TierPlan(try companion(), host: host).node == "pod-7")
    #expect(try TierPlan(try companion("node: istiod-1\n"), host: host).node == "istiod-1")
  }

  @Test func stateIsKeptOnlyWhereTheFileSaysSo() throws {
    #expect(try TierPlan(try companion(), host: host).state == nil)
    #expect(try TierPlan(try companion("state: kept\n"), host: host).state == "/etc/kept")
  }

  /// Positions are passed on: only so can a lagging relay be told from one that is ahead.
  @Test func aLeafIsNoOrigin() throws {
    guard case .relayed = SourceSet.truth(try TierPlan(try companion(), host: host)) else {
      Issue.record("connect gives its own positions")
      return
    }
  }

  @Test func everythingIsForWhoeverIsOnThisHost() throws {
    let configuration = try companion()
    guard case .loopback(let granted, let stranger) = try TierPlan(configuration, host: host).listeners else {
      Issue.record("connect does not listen in plaintext")
      return
    }
    #expect(stranger.description == "spiffe://example.org")
    let rules = PolicyRules(configuration)
    #expect(rules.classes.count == 1)
    #expect(rules.clusters.map(\.name) == [granted.cluster])
    #expect(granted.classIndex == rules.clusters[0].classIndex)
    #expect(rules.isVisible(gateway, class: granted.classIndex))
  }

  @Test(arguments: [
    ("spiffe://example.org/cluster/a/istiod", true), ("spiffe://partner.org/x", true),
    ("spiffe://elsewhere.org/cluster/a/istiod", false),
  ])
  func operatorsMayAskAsTheIdentitiesThisHostCouldHave(_ id: String, _ isKnown: Bool) throws {
    let rules = PolicyRules(try companion())
    let explanation = rules.explain(gateway, as: try SPIFFEID(parsing: id))
    #expect(explanation.visible == isKnown)
    #expect(explanation.rule?.file == (isKnown ? "/etc/c.yaml" : nil))
  }

  @Test func serveListensWithMutualTLSOnly() throws {
    let text = """
      identity: {files: {svid: s, key: k}, bundles: {example.org: b}}
      sources: [{name: files, directory: {path: m}}]
      listen: [{address: "127.0.0.1:15051"}]
      policy: p.yaml
      """
    let (configuration, problems) = RelayConfiguration.parse(Array(text.utf8), file: "/etc/m.yaml")
    #expect(problems.isEmpty)
    guard case .mutualTLS = try TierPlan(try #require(configuration), host: host).listeners else {
      Issue.record("serve listens in plaintext")
      return
    }
  }
}
