// Goal: an identity is loaded only whole and usable; every fault names its file; replacements are noticed.
// Method: real files in a folder of their own for each test, replaced as issuers do it.

import Foundation
import Identity
import Primitives
import SPIFFE
import TLS
import TestCertificates
import Testing
import Trust

private let now = Timestamp(seconds: TestAuthority.epoch)
private let root = TestAuthority("td")

/// A folder with svid.pem, svid.key and bundle.pem, removed at the end.
private final class Folder {
  let url = FileManager.default.temporaryDirectory.appending(path: "identity-\(UUID().uuidString)")

  init() throws {
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    try write(root.issue("spiffe://td/relay"))
    try write("bundle.pem", root.certificatePEM)
  }

  deinit { try? FileManager.default.removeItem(at: url) }

  func path(_ name: String) -> String { url.appending(path: name).path }

  func write(_ name: String, _ text: String, mode: Int = 0o600) throws {
    try text.write(to: url.appending(path: name), atomically: true, encoding: .utf8)
    try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path(name))
  }

  func write(_ identity: TestIdentity) throws {
    try write("svid.pem", identity.chainPEM)
    try write("svid.key", identity.keyPEM)
  }

  func remove(_ name: String) throws { try FileManager.default.removeItem(atPath: path(name)) }

  func identity(_ bundles: [(String, String)] = [("td", "bundle.pem")]) throws -> FileIdentity {
    FileIdentity(
      svid: path("svid.pem"), key: path("svid.key"),
      bundles: try bundles.map { (try TrustDomain($0.0), path($0.1)) })
  }
}

@Test func loadsAWholeIdentity() throws {
  let folder = try Folder()
  let other = TestAuthority("other")
  try folder.write("other.json", documentOf(other))
  let credentials = try folder.identity([("td", "bundle.pem"), ("other", "other.json")]).load(
    at: now, generation: 7)
  #expect(credentials.svid.id.description == "spiffe://td/relay")
  #expect(credentials.generation == 7)
  #expect(credentials.bundles[try TrustDomain("td")]?.anchors == [root.certificate])
  #expect(credentials.bundles[try TrustDomain("other")]?.anchors == [other.certificate])
}

private func documentOf(_ authority: TestAuthority) -> String {
  let text = Data(authority.certificate).base64EncodedString()
  return #"{"keys": [{"kty": "EC", "use": "x509-svid", "x5c": ["\#(text)"]}]}"#
}

@Test(arguments: ["svid.pem", "svid.key", "bundle.pem"])
func aMissingFileIsNamed(_ name: String) throws {
  let folder = try Folder()
  try folder.remove(name)
  let error = #expect(throws: IdentityError.self) { try folder.identity().load(at: now) }
  #expect(error == .fileUnreadable(path: folder.path(name), number: ENOENT))
  #expect(error?.description.contains(folder.path(name)) == true)
}

@Test func aFolderAndAHugeFileAreRefused() throws {
  let folder = try Folder()
  let identity = FileIdentity(svid: folder.url.path, key: folder.path("svid.key"), bundles: [])
  #expect(throws: IdentityError.fileUnreadable(path: folder.url.path, number: EISDIR)) {
    try identity.load(at: now)
  }
  try folder.write("svid.pem", String(repeating: "x", count: 1024 * 1024 + 1))
  #expect(throws: IdentityError.fileTooLarge(path: folder.path("svid.pem"), limit: 1024 * 1024)) {
    try folder.identity().load(at: now)
  }
}

@Test func foreignKeysAndBrokenFilesAreNamed() throws {
  let folder = try Folder()
  try folder.write("svid.key", root.issue("spiffe://td/relay").keyPEM)
  #expect(throws: IdentityError.key(path: folder.path("svid.key"), .keyDoesNotMatch)) {
    try folder.identity().load(at: now)
  }
  try folder.write("svid.pem", "nothing")
  let broken = #expect(throws: IdentityError.self) { try folder.identity().load(at: now) }
  #expect(broken?.what.hasPrefix(folder.path("svid.pem") + ":") == true)
  try folder.write(root.issue("spiffe://td/relay"))
  try folder.write("bundle.pem", root.issue("spiffe://td/relay").chainPEM)
  let leaf = #expect(throws: IdentityError.self) { try folder.identity().load(at: now) }
  #expect(leaf?.what.contains("bundle.pem (bundle of td)") == true)
}

@Test func theSVIDMustVerifyAgainstItsOwnBundle() throws {
  let folder = try Folder()
  #expect(throws: IdentityError.noOwnBundle(svid: folder.path("svid.pem"), try TrustDomain("td"))) {
    try folder.identity([]).load(at: now)
  }
  let late = Timestamp(seconds: TestAuthority.epoch + 2 * 86_400)
  let expired = #expect(throws: IdentityError.self) { try folder.identity().load(at: late) }
  #expect(expired?.what.contains("certificate has expired") == true)
  try folder.write("bundle.pem", TestAuthority("td").certificatePEM)
  let stranger = #expect(throws: IdentityError.self) { try folder.identity().load(at: now) }
  guard case .unusable(folder.path("svid.pem"), folder.path("bundle.pem"), _) = stranger else {
    Issue.record("unexpected \(String(describing: stranger))")
    return
  }
  // As a server only: not enough for a relay, which is a client too.
  try folder.write("bundle.pem", root.certificatePEM)
  var plan = CertificatePlan.workload("spiffe://td/relay")
  plan.extendedKeyUsage = "serverAuth"
  try folder.write(root.issue(plan))
  #expect(
    throws: IdentityError.unusable(
      svid: folder.path("svid.pem"), bundle: folder.path("bundle.pem"), .wrongPurpose(role: .client))
  ) { try folder.identity().load(at: now) }
}

@Test func replacementsChangeTheFingerprint() throws {
  let folder = try Folder()
  let identity = try folder.identity()
  var seen = [identity.fingerprint()]
  #expect(identity.fingerprint() == seen[0])
  try folder.write(root.issue("spiffe://td/relay"))
  seen.append(identity.fingerprint())
  try folder.write("bundle.pem", root.certificatePEM)
  seen.append(identity.fingerprint())
  try folder.remove("bundle.pem")
  seen.append(identity.fingerprint())
  #expect(Set(seen).count == seen.count)
}

@Test func swappedLinksAreReplacements() throws {
  // As Kubernetes mounts secrets: the files are links through a folder link that is swapped.
  let folder = try Folder()
  let files = FileManager.default
  for (version, identity) in [("one", root.issue("spiffe://td/one")), ("two", root.issue("spiffe://td/two"))]
  {
    try files.createDirectory(atPath: folder.path(version), withIntermediateDirectories: true)
    try folder.write("\(version)/svid.pem", identity.chainPEM)
    try folder.write("\(version)/svid.key", identity.keyPEM)
  }
  try files.createSymbolicLink(atPath: folder.path("data"), withDestinationPath: "one")
  let identity = FileIdentity(
    svid: folder.path("data/svid.pem"), key: folder.path("data/svid.key"),
    bundles: [(try TrustDomain("td"), folder.path("bundle.pem"))])
  let before = identity.fingerprint()
  #expect(try identity.load(at: now).svid.id.path == "/one")
  try folder.remove("data")
  try files.createSymbolicLink(atPath: folder.path("data"), withDestinationPath: "two")
  #expect(identity.fingerprint() != before)
  #expect(try identity.load(at: now).svid.id.path == "/two")
}

@Test func keysOpenToOthersAreAWarning() throws {
  let folder = try Folder()
  #expect(try folder.identity().warnings().isEmpty)
  try folder.write("svid.key", root.issue("spiffe://td/relay").keyPEM, mode: 0o644)
  let warnings = try folder.identity().warnings()
  #expect(warnings == [.keyReadableByOthers(path: folder.path("svid.key"), mode: 0o644)])
  #expect(warnings.first?.description.contains("chmod 0600") == true)
}
