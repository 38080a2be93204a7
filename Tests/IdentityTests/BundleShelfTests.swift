// Goal: a fetched bundle comes back as it was kept, for the endpoint it was fetched from and for no other; what is
// damaged, or could be somebody else's work, is set aside and named. Method: real files, spoiled in every way.

import Foundation
import Identity
import Primitives
import SPIFFE
import TestCertificates
import Testing
import Transport
import Trust

private let partner = TestAuthority("partner.org")
private let fetchedAt = Timestamp(seconds: TestAuthority.epoch, nanoseconds: 5_000_000)

/// A state folder, removed at the end.
private final class Shelf {
  let state = FileManager.default.temporaryDirectory.appending(path: "shelf-\(UUID().uuidString)").path
  var shelf: BundleShelf { BundleShelf(folder: state + "/bundles") }
  var file: String { state + "/bundles/partner.org" }

  deinit { try? FileManager.default.removeItem(atPath: state) }

  func text() throws -> [UInt8] { Array(try Data(contentsOf: URL(filePath: file))) }

  func replace(_ text: [UInt8]) throws {
    try Data(text).write(to: URL(filePath: file))
    try setMode(0o600, file)
  }

  func setMode(_ mode: Int, _ path: String) throws {
    try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
  }

  func mode(_ path: String) throws -> Int? {
    try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
  }

  var names: [String] {
    ((try? FileManager.default.contentsOfDirectory(atPath: state + "/bundles")) ?? []).sorted()
  }
}

private func endpoint(
  _ name: String = "partner.org", path: String = "/bundle", spiffeID: String? = "spiffe://partner.org/spire"
) throws -> BundleEndpoint {
  BundleEndpoint(
    trustDomain: try domain(name), target: HTTPSTarget(host: "spire.partner.org", port: 8443, path: path),
    profile: try spiffeID.map { .spiffe(try SPIFFEID(parsing: $0)) } ?? .web)
}

private func kept(
  _ endpoint: BundleEndpoint, _ anchors: [[UInt8]] = [partner.certificate], sequence: UInt64? = .max
) throws -> KeptBundle {
  KeptBundle(
    endpoint: endpoint,
    bundle: try Trust.Bundle(
      trustDomain: endpoint.trustDomain, anchors: anchors, sequence: sequence, refreshHint: .seconds(77)),
    fetchedAt: fetchedAt)
}

struct BundleShelfTests {
  @Test func comesBackAsItWas() throws {
    let place = Shelf()
    for spiffeID in ["spiffe://partner.org/spire", nil] {
      let endpoint = try endpoint(spiffeID: spiffeID)
      for one in [try kept(endpoint), try kept(endpoint, []), try kept(endpoint, sequence: nil)] {
        try place.shelf.keep(one)
        let (found, troubles) = place.shelf.restore([endpoint])
        #expect(found == [one] && troubles.isEmpty)
      }
    }
    #expect(place.names == ["partner.org"], "nothing half-written is left")
    #expect(try place.mode(place.file) == 0o600)
    #expect(try place.mode(place.state + "/bundles") == 0o700)
  }

  @Test func nothingKeptIsNoTrouble() throws {
    let place = Shelf()
    let (found, troubles) = place.shelf.restore([try endpoint()])
    #expect(found.isEmpty && troubles.isEmpty)
  }

  @Test(arguments: [
    ("partner.org", "/other", "spiffe://partner.org/spire"),
    ("partner.org", "/bundle", "spiffe://partner.org/other"), ("partner.org", "/bundle", nil),
    ("other.org", "/bundle", "spiffe://partner.org/spire"),
  ])
  func whatWasFetchedElsewhereIsNotUsed(_ name: String, _ path: String, _ spiffeID: String?) throws {
    let place = Shelf()
    try place.shelf.keep(try kept(try endpoint()))
    let (found, troubles) = place.shelf.restore([try endpoint(name, path: path, spiffeID: spiffeID)])
    #expect(found.isEmpty && troubles.isEmpty)
  }

  @Test func whatNobodyNamesIsForgotten() throws {
    let place = Shelf()
    try place.shelf.keep(try kept(try endpoint()))
    let other = TestAuthority("other.org")
    try place.shelf.keep(
      try kept(try endpoint("other.org", spiffeID: "spiffe://other.org/spire"), [other.certificate]))
    _ = place.shelf.restore([try endpoint()])
    #expect(place.names == ["partner.org"])
    place.shelf.forget(besides: [])
    #expect(place.names.isEmpty)
  }

  /// Every single byte: a flipped one is found, and the file is out of the way.
  @Test func aFlippedByteIsFound() throws {
    let place = Shelf()
    try place.shelf.keep(try kept(try endpoint()))
    let good = try place.text()
    for index in good.indices {
      var bad = good
      bad[index] ^= 0x01
      try place.replace(bad)
      let (found, troubles) = place.shelf.restore([try endpoint()])
      // The space in the first line is the only byte that may be written in several ways.
      guard found.isEmpty, troubles.count == 1, case .damaged(_, _, let aside?) = troubles[0] else {
        Issue.record("byte \(index): \(found.count) \(troubles)")
        continue
      }
      #expect(aside == place.file + ".aside" && place.names == ["partner.org.aside"])
    }
    try place.replace(good)
    #expect(place.shelf.restore([try endpoint()]).kept.count == 1)
  }

  @Test func aTornFileIsFound() throws {
    let place = Shelf()
    try place.shelf.keep(try kept(try endpoint()))
    let good = try place.text()
    for count in stride(from: 0, to: good.count, by: 13) {
      try place.replace(Array(good[..<count]))
      let (found, troubles) = place.shelf.restore([try endpoint()])
      #expect(found.isEmpty && troubles.count == 1)
    }
  }

  @Test(arguments: [0o640, 0o606, 0o622, 0o666])
  func aFileThatOthersMayTouchIsNotBelieved(_ mode: Int) throws {
    let place = Shelf()
    try place.shelf.keep(try kept(try endpoint()))
    try place.setMode(mode, place.file)
    let (found, troubles) = place.shelf.restore([try endpoint()])
    #expect(found.isEmpty && troubles.first?.description.contains("others than our user") == true)
    #expect(place.names == ["partner.org.aside"])
  }

  @Test func aLinkIsNotFollowed() throws {
    let place = Shelf()
    try place.shelf.keep(try kept(try endpoint()))
    try FileManager.default.moveItem(atPath: place.file, toPath: place.state + "/elsewhere")
    try FileManager.default.createSymbolicLink(
      atPath: place.file, withDestinationPath: place.state + "/elsewhere")
    let (found, troubles) = place.shelf.restore([try endpoint()])
    #expect(found.isEmpty && troubles.count == 1)
  }

  @Test func aFolderThatOthersMayWriteIsNotBelieved() throws {
    let place = Shelf()
    try place.shelf.keep(try kept(try endpoint()))
    try place.setMode(0o777, place.state + "/bundles")
    let (found, troubles) = place.shelf.restore([try endpoint()])
    #expect(found.isEmpty && troubles == [.folderOpen(path: place.state + "/bundles")])
    #expect(throws: ShelfTrouble.self) { try place.shelf.keep(try kept(try endpoint())) }
  }

  @Test func aFailedWriteLeavesTheLastOne() throws {
    let place = Shelf()
    try place.shelf.keep(try kept(try endpoint(), sequence: 1))
    // Nobody can write a file where a folder has its name.
    try FileManager.default.createDirectory(
      atPath: place.file + ".new/in-the-way", withIntermediateDirectories: true)
    #expect(throws: ShelfTrouble.self) { try place.shelf.keep(try kept(try endpoint(), sequence: 2)) }
    #expect(place.shelf.restore([try endpoint()]).kept.first?.bundle.sequence == 1)
  }

  /// Names of trust domains that file systems do not have, or that are names of ours.
  @Test(arguments: ["..", ".", ".hidden", "a.new", "a.aside", String(repeating: "a", count: 255)])
  func strangeNames(_ name: String) throws {
    guard (try? TrustDomain(name)) != nil else { return }
    let place = Shelf()
    var plan = CertificatePlan.authority(name)
    plan.commonName = "strange"
    let strange = TestAuthority(name, plan: plan)
    let endpoint = try endpoint(name, spiffeID: nil)
    try place.shelf.keep(try kept(endpoint, [strange.certificate]))
    #expect(place.shelf.restore([endpoint]).kept.count == 1)
    #expect(place.names.allSatisfy { $0.hasPrefix("sha256-") })
  }
}
