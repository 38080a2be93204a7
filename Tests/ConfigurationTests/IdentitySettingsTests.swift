// Goal: the section `identity` says where the SVID comes from, and never leaves it open which source is meant.
// Method: tables of texts for the address of the Workload API and for the whole section.

import Documents
import SPIFFE
import Testing

@testable import Configuration

private func identity(_ text: String) -> IdentitySettings? {
  let (configuration, problems) = RelayConfiguration.parse(
    Array(
      """
      identity: \(text)
      sources: [{name: files, directory: {path: m}}]
      listen: [{address: "127.0.0.1:15010"}]
      policy: p.yaml
      """.utf8), file: "/etc/m.yaml")
  #expect(problems.isEmpty, "\(problems)")
  return configuration?.identity
}

struct IdentitySettingsTests {
  @Test(arguments: [
    ("unix:///run/api.sock", "unix:///run/api.sock"), ("unix:/run/api.sock", "unix:///run/api.sock"),
    ("tcp://127.0.0.1:8000", "tcp://127.0.0.1:8000"), ("tcp://[::1]:8000", "tcp://[::1]:8000"),
  ])
  func addressesOfTheWorkloadAPI(_ text: String, _ expected: String) throws {
    #expect(try WorkloadAPIAddress(parsing: text).description == expected)
  }

  @Test(arguments: [
    "", "/run/api.sock", "unix:", "unix://", "unix:api.sock", "unix://host/api.sock", "unix:////api.sock",
    "unix:///a?b", "unix:///a#b", "unix:///" + String(repeating: "a", count: 107), "tcp://localhost:1",
    "tcp://127.0.0.1", "tcp://127.0.0.1:0", "tcp://127.0.0.1:1/x", "tcp://u:p@127.0.0.1:1",
    "http://127.0.0.1:1",
    "UNIX:///x",
  ])
  func noAddresses(_ text: String) {
    #expect(throws: WorkloadAPIAddress.Fault.self) { try WorkloadAPIAddress(parsing: text) }
  }

  @Test func theWorkloadAPIBringsItsOwnBundles() throws {
    let found = try #require(identity("{workloadAPI: \"unix:///a\"}"))
    #expect(found.source == .workloadAPI(.unix(path: "/a"), select: nil))
    #expect(found.bundles == [])
  }

  @Test func withoutFilesTheEnvironmentIsMeant() throws {
    #expect(identity("{}")?.source == .workloadAPI(nil, select: nil))
    let found = try #require(identity("{bundles: {partner.org: b.pem}}"))
    #expect(found.source == .workloadAPI(nil, select: nil))
    #expect(found.trustDomains.map(\.name) == ["partner.org"])
  }

  @Test func oneOfSeveralSVIDs() throws {
    #expect(identity("{select: {hint: relay}}")?.source == .workloadAPI(nil, select: .hint("relay")))
    let id = try SPIFFEID(parsing: "spiffe://td/x")
    #expect(
      identity("{select: {spiffeID: \"spiffe://td/x\"}}")?.source == .workloadAPI(nil, select: .spiffeID(id)))
  }

  @Test func federation() throws {
    let found = try #require(
      identity(
        """
        {federation: [
          {trustDomain: p.org, url: "https://spire.p.org:8443/x?y", profile: https_spiffe, spiffeID: "spiffe://p.org/s"},
          {trustDomain: q.org, url: "https://q.org", profile: https_web}]}
        """))
    #expect(found.federation.map(\.url.description) == ["https://spire.p.org:8443/x?y", "https://q.org/"])
    #expect(found.federation[0].profile == .spiffe(try SPIFFEID(parsing: "spiffe://p.org/s")))
    #expect(found.federation[1].profile == .web)
    #expect(found.trustDomains.map(\.name) == ["p.org", "q.org"])
  }

  @Test(arguments: [
    ("url: \"http://q.org\", profile: https_web", "does not begin with https://"),
    ("url: \"https://u:p@q.org\", profile: https_web", "has user information in it"),
    ("url: \"https://q.org/#x\", profile: https_web", "has a fragment in it"),
    ("url: \"https://q.org:0/\", profile: https_web", "has the port 0"),
    ("url: \"https:///x\", profile: https_web", "has no host name"),
    ("url: \"https://q.org/a b\", profile: https_web", "must be percent-encoded"),
    ("url: \"https://q.org/\"", "the key \"profile\" is missing"),
    ("url: \"https://q.org/\", profile: web", "it must be https_spiffe or https_web"),
    ("url: \"https://q.org/\", profile: https_spiffe", "the key \"spiffeID\" is missing"),
    ("url: \"https://q.org/\", profile: https_spiffe, spiffeID: \"spiffe://q.org\"", "names a trust domain"),
    ("url: \"https://q.org/\", profile: https_web, spiffeID: \"spiffe://q.org/x\"", "has no meaning with"),
  ])
  func badFederation(_ keys: String, _ words: String) {
    let text = """
      identity: {federation: [{trustDomain: q.org, \(keys)}]}
      sources: [{name: files, directory: {path: m}}]
      listen: [{address: "127.0.0.1:15010"}]
      policy: p.yaml
      """
    let (configuration, problems) = RelayConfiguration.parse(Array(text.utf8), file: "m")
    #expect(configuration == nil && problems.count == 1, "\(problems)")
    #expect(problems.first?.description.contains(words) == true, "\(problems)")
    #expect(problems.first?.description.contains("u:p") == false)
  }
}
