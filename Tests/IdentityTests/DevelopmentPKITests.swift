// Goal: what pki/ issues is what the relay accepts, and each bad kind is refused for its own reason.
// Method: the scripts are run as an operator runs them; their files are loaded and judged.

import Foundation
import Identity
import Primitives
import SPIFFE
import TLS
import Testing
import Trust

/// A development trust domain `example.org` in a folder of its own.
private final class DevelopmentDomain {
  private let folder = FileManager.default.temporaryDirectory.appending(path: "pki-\(UUID().uuidString)")

  init() throws {
    #expect(try run("make-trust-domain", path, "example.org") == 0)
  }

  deinit { try? FileManager.default.removeItem(at: folder) }

  var path: String { folder.path }

  func run(_ command: String, _ arguments: String...) throws -> Int32 {
    let pki = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../pki")
    let process = Process()
    process.executableURL = pki.appending(path: command)
    process.arguments = arguments
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    return process.terminationStatus
  }

  func identity(_ name: String) throws -> FileIdentity {
    FileIdentity(
      svid: "\(path)/\(name).pem", key: "\(path)/\(name).key",
      bundles: [(try TrustDomain("example.org"), "\(path)/bundle.pem")])
  }

  func chain(_ name: String) throws -> [[UInt8]] {
    try Certificate.parse(pem: Array(Data(contentsOf: folder.appending(path: name + ".pem")))).map(\.der)
  }

  func mode(_ file: String) throws -> Int {
    let attributes = try FileManager.default.attributesOfItem(atPath: "\(path)/\(file)")
    return (attributes[.posixPermissions] as? NSNumber)?.intValue ?? 0
  }
}

private var now: Timestamp { Timestamp(seconds: Int64(Date().timeIntervalSince1970)) }

@Test func anIssuedSVIDIsAnIdentity() throws {
  let domain = try DevelopmentDomain()
  let id = "spiffe://example.org/mcp/central"
  #expect(
    try domain.run("issue-svid", domain.path, id, "central", "--dns", "central.example.org", "--hours", "2")
      == 0)
  let identity = try domain.identity("central")
  let credentials = try identity.load(at: now)
  #expect(credentials.svid.id.description == id)
  let remaining = credentials.svid.notAfter.seconds - now.seconds
  #expect((7000...7200).contains(remaining))
  #expect(try Certificate(der: credentials.svid.chain[0]).dnsNames == ["central.example.org"])
  #expect(identity.warnings().isEmpty)
  #expect(try domain.mode("central.key") == 0o600 && domain.mode("ca.key") == 0o600)
  let before = identity.fingerprint()
  #expect(try domain.run("issue-svid", domain.path, id, "central") == 0)
  #expect(identity.fingerprint() != before)
  #expect(try identity.load(at: now).svid.notAfter > credentials.svid.notAfter)
}

@Test(arguments: [
  ("expired", "expired"), ("two-uris", "bad_id"), ("no-uri", "bad_id"), ("ca-leaf", "bad_id"),
  ("foreign", "untrusted"), ("stranger", "untrusted"), ("wrong-eku", "bad_id"),
])
func badCertificatesAreRefused(_ kind: String, _ result: String) throws {
  let domain = try DevelopmentDomain()
  #expect(try domain.run("issue-bad", domain.path, kind, "bad") == 0)
  let trustDomain = try TrustDomain("example.org")
  let bundle = try Bundle.parse(
    pem: Array(Data(contentsOf: URL(filePath: domain.path + "/bundle.pem"))), trustDomain: trustDomain)
  for role in [TLSRole.server, .client] {
    let failure = try #require(throws: VerificationFailure.self) {
      try verifyPeer(chain: domain.chain("bad"), bundles: [trustDomain: bundle], at: now, role: role)
    }
    #expect(failure.handshakeResult == result, "\(failure)")
  }
}

@Test func wrongCallsAreRefused() throws {
  let domain = try DevelopmentDomain()
  #expect(try domain.run("make-trust-domain", domain.path) == 64)
  #expect(try domain.run("make-trust-domain", domain.path, "Example.org") == 1)
  #expect(try domain.run("issue-svid", domain.path, "spiffe://other.org/a", "a") == 1)
  #expect(try domain.run("issue-svid", domain.path, "spiffe://exampleXorg/a", "a") == 1)
  #expect(try domain.run("issue-svid", domain.path, "spiffe://example.org", "a") == 1)
  #expect(try domain.run("issue-svid", domain.path, "spiffe://example.org/..", "a") == 1)
  #expect(try domain.run("issue-svid", domain.path, "spiffe://example.org/a", "../a") == 1)
  #expect(try domain.run("issue-svid", domain.path, "spiffe://example.org/a", "ca") == 1)
  #expect(try domain.run("issue-svid", domain.path, "spiffe://example.org/a", "a", "--hours", "0") == 1)
  #expect(try domain.run("issue-bad", domain.path, "worse", "a") == 1)
  #expect(try domain.run("issue-svid", domain.path + "/none", "spiffe://example.org/a", "a") == 1)
}
