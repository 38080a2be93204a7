// Goal: the file of `connect` is read as DESIGN.md §5 says, and can never open its plaintext to another host.
// Method: the smallest and the fullest file, golden problems, every port of istiod.

import Documents
import SPIFFE
import Testing

@testable import Configuration

private func smallest(_ extra: String = "") -> String {
  """
  identity: {files: {svid: svid.pem, key: svid.key}, bundles: {example.org: bundle.pem}}
  relay: {addresses: ["edge:15010"], spiffeID: "spiffe://example.org/edge"}

  """ + extra
}

private func readCompanion(_ text: String) -> (CompanionConfiguration?, [String]) {
  let (configuration, problems) = CompanionConfiguration.parse(Array(text.utf8), file: "/etc/c")
  return (configuration, problems.map(\.description))
}

struct CompanionConfigurationTests {
  @Test func theSmallestFile() throws {
    let (found, problems) = readCompanion(smallest())
    #expect(problems == [])
    let configuration = try #require(found)
    #expect(configuration.listen.description == "127.0.0.1:15051")
    #expect(configuration.relayAddresses.map(\.description) == ["edge:15010"])
    #expect(configuration.relayID.description == "spiffe://example.org/edge")
    #expect(configuration.state == nil)
    #expect(configuration.admin == "/run/meshrelay/admin.sock")
    #expect(configuration.node == nil)
    #expect(configuration.identity.source == .files(svid: "/etc/svid.pem", key: .file("/etc/svid.key")))
  }

  @Test(arguments: [
    ("listen: \"127.0.0.9:99\"", "127.0.0.9:99"), ("listen: \"[::1]:99\"", "[::1]:99"),
    ("listen: [{address: \"127.0.0.1:0\"}]", "127.0.0.1:0"),
  ])
  func listening(_ line: String, _ expected: String) {
    #expect(readCompanion(smallest(line)).0?.listen.description == expected)
  }

  @Test func keysThatNeedARestart() throws {
    let running = try #require(readCompanion(smallest()).0)
    let changes = "node: n\nstate: s\nadmin: unix:///run/x.sock\nlisten: \"127.0.0.1:99\"\n"
    let changed = try #require(readCompanion(smallest(changes)).0)
    #expect(changed.keysThatNeedRestart(since: running) == ["node", "state", "admin", "listen"])
    #expect(running.keysThatNeedRestart(since: running) == [])
  }

  @Test func theOtherKeys() {
    let configuration = readCompanion(smallest("node: n\nstate: s\nadmin: unix:///run/x.sock\n")).0
    #expect(configuration?.node == "n")
    #expect(configuration?.state == "/etc/s")
    #expect(configuration?.admin == "/run/x.sock")
  }

  @Test(arguments: [
    (
      "listen: \"0.0.0.0:15051\"",
      "/etc/c:3:9: listen is 0.0.0.0:15051, which other hosts can reach, what connect serves is plaintext and granted to this host alone, use 127.0.0.1:15051"
    ),
    (
      "listen: [{address: \"10.1.2.3:15051\"}]",
      "/etc/c:3:20: listen.address is 10.1.2.3:15051, which other hosts can reach, what connect serves is plaintext and granted to this host alone, use 127.0.0.1:15051"
    ),
    (
      "listen: \"localhost:15051\"",
      "/etc/c:3:9: listen is \"localhost:15051\", which has a host name, write an IP address of this host"
    ),
    (
      "listen: [{address: \"127.0.0.1:1\"}, {address: \"127.0.0.1:2\"}]",
      "/etc/c:3:9: connect listens on one address, leave one"
    ),
    ("listen: [{socket: a}]", "/etc/c:3:10: the key \"address\" is missing in listen"),
    (
      "admin: \"127.0.0.1:1\"",
      "/etc/c:3:8: admin of connect must be a Unix socket, write it like unix:///run/meshrelay/admin.sock"
    ),
    (
      "sources: []",
      "/etc/c:3:1: unknown key \"sources\", the keys here are admin identity listen node relay state"
    ),
  ])
  func problems(_ line: String, _ expected: String) {
    let (configuration, problems) = readCompanion(smallest(line))
    #expect(configuration == nil)
    #expect(problems.contains(expected), "\(problems)")
  }

  @Test(arguments: CompanionConfiguration.istiodPorts)
  func portsOfIstiodAreRefused(_ port: UInt16) {
    #expect(
      readCompanion(smallest("listen: \"127.0.0.1:\(port)\"")).1 == [
        "/etc/c:3:9: listen has the port \(port), which istiod itself uses, use 127.0.0.1:15051"
      ])
  }

  @Test func everythingMissing() {
    #expect(
      readCompanion("node: x").1 == [
        "/etc/c:1:1: the key \"identity\" is missing", "/etc/c:1:1: the key \"relay\" is missing",
      ])
    #expect(
      readCompanion(smallest().replacing("addresses: [\"edge:15010\"], ", with: "")).1 == [
        "/etc/c:2:8: the key \"addresses\" is missing in relay"
      ])
  }
}

struct NetworkAddressTests {
  @Test(arguments: [
    ("127.0.0.1:1", true), ("127.255.0.1:1", true), ("[::1]:1", true), ("[0:0::1]:1", true),
    ("128.0.0.1:1", false),
    ("127.evil.org:1", false), ("localhost:1", false), ("[::]:1", false), ("0.0.0.0:1", false),
    ("[::ffff:127.0.0.1]:1", false),
  ])
  func loopback(_ text: String, _ expected: Bool) throws {
    #expect(try NetworkAddress(parsing: text).isLoopback == expected)
  }

  @Test(arguments: [
    "", ":", ":1", "h", "h:", "h:x", "h:-1", "h:65536", "h: 1", "[::1]", "[::g]:1", "[127.0.0.1]:1", "a b:1",
    "h:1/x", "é:1",
    "300.1.1.1:1", "h..x:1", "a@h:1", "//h:1", "\(String(repeating: "a", count: 64)):1",
  ])
  func refused(_ text: String) {
    #expect(throws: NetworkAddress.Fault.self) { try NetworkAddress(parsing: text) }
  }
}
