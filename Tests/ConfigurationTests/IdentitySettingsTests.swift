// Goal: the section `identity` says where the SVID comes from, and never leaves it open which source is meant.
// Method: tables of texts for the address of the Workload API and for the whole section.

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
}
