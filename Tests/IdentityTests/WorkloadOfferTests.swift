// Goal: what is taken from an agent is whole, ours and verified; the choice among SVIDs is the operator's; a bundle of
// our own trust domain comes with our SVID only. Method: answers as a real agent sends them, and every way to break one.

import Identity
import Primitives
import Protos
import SPIFFE
import TestCertificates
import Testing
import Trust

private let td = TestAuthority("td")
private let other = TestAuthority("other")

private func resolve(
  _ svids: [WorkloadAPI_X509SVID], federated: [String: [UInt8]] = [:], choice: SVIDChoice? = nil
) throws -> WorkloadIdentity {
  try WorkloadOffer(decoding: answer(svids, federated: federated)).resolve(choice, at: epoch)
}

struct WorkloadOfferTests {
  @Test func oneAnswerIsAWholeIdentity() throws {
    let found = try resolve(
      [offered("spiffe://td/a", by: td)], federated: ["spiffe://other": other.certificate])
    #expect(found.svid.id.description == "spiffe://td/a")
    #expect(found.bundles[try domain("td")]?.anchors == [td.certificate])
    #expect(found.bundles[try domain("other")]?.anchors == [other.certificate])
    #expect(found.faults.isEmpty)
  }

  @Test func intermediatesComeWithTheSVID() throws {
    let below = td.intermediate()
    let found = try resolve([offered("spiffe://td/a", by: below, bundle: [td])])
    #expect(found.svid.chain.count == 2)
  }

  @Test(
    arguments: [
      (nil, "/one"), (SVIDChoice.hint("h"), "/two"), (.hint(""), "/one"),
    ] as [(SVIDChoice?, String)])
  func theChoiceIsTheOperators(_ choice: SVIDChoice?, _ path: String) throws {
    let found = try resolve(
      [
        offered("spiffe://td/one", by: td), offered("spiffe://td/two", by: td, hint: "h"),
        offered("spiffe://td/three", by: td, hint: "h"),
      ], choice: choice)
    #expect(found.svid.id.path == path)
  }

  @Test func aChoiceByID() throws {
    let id = try SPIFFEID(parsing: "spiffe://td/two")
    let svids = [offered("spiffe://td/one", by: td), offered("spiffe://td/two", by: td)]
    #expect(try resolve(svids, choice: .spiffeID(id)).svid.id == id)
    let error = #expect(throws: WorkloadTrouble.self) { try resolve([svids[0]], choice: .spiffeID(id)) }
    #expect(error?.description.contains("spiffe://td/one") == true)
  }

  @Test func bareTrustDomainsAndEmptyBundles() throws {
    let found = try resolve(
      [offered("spiffe://td/a", by: td)], federated: ["other": other.certificate, "spiffe://revoked": []])
    #expect(found.bundles[try domain("other")]?.anchors == [other.certificate])
    #expect(found.bundles[try domain("revoked")]?.anchors == [])
  }

  @Test func ourOwnBundleComesWithOurSVIDOnly() throws {
    let claimed = TestAuthority("td")
    let found = try resolve(
      [offered("spiffe://td/a", by: td)], federated: ["spiffe://td": claimed.certificate])
    #expect(found.bundles[try domain("td")]?.anchors == [td.certificate])
  }

  @Test func anSVIDOfAnotherTrustDomainBringsItsBundle() throws {
    let found = try resolve([offered("spiffe://td/a", by: td), offered("spiffe://other/a", by: other)])
    #expect(found.bundles.count == 2)
    let chosen = try resolve(
      [offered("spiffe://td/a", by: td), offered("spiffe://other/a", by: other, hint: "o")],
      choice: .hint("o"))
    #expect(chosen.svid.id.trustDomain.name == "other" && chosen.bundles.count == 2)
  }

  @Test func aBadForeignBundleIsSetAside() throws {
    let leaf = other.issue("spiffe://other/x").chain[0]
    let found = try resolve(
      [offered("spiffe://td/a", by: td)],
      federated: ["spiffe://other": leaf, "spiffe://third": [1, 2, 3], "no trust domain!": [1]])
    #expect(found.faults.keys.map(\.name).sorted() == ["other", "third"])
    #expect(Array(found.bundles.keys) == [try domain("td")])
  }

  @Test(arguments: [
    "no svid", "no id", "no chain", "no key", "no bundle", "cut chain", "another key", "another name",
    "another authority", "expired", "not yet", "a client only", "trust domain ID",
  ])
  func whatIsBrokenIsRefused(_ kind: String) throws {
    let good = offered("spiffe://td/a", by: td)
    var svid = good
    var svids = [svid]
    func planned(_ change: (inout CertificatePlan) -> Void) -> WorkloadAPI_X509SVID {
      var plan = CertificatePlan.workload("spiffe://td/a")
      change(&plan)
      return offered("spiffe://td/a", by: td, from: plan)
    }
    switch kind {
    case "no svid": svids = []
    case "no id": svid.spiffeID = ""
    case "no chain": svid.x509Svid.removeAll()
    case "no key": svid.x509SvidKey.removeAll()
    case "no bundle": svid.bundle.removeAll()
    case "cut chain": svid.x509Svid.removeLast()
    case "another key": svid.x509SvidKey = offered("spiffe://td/a", by: td).x509SvidKey
    case "another name": svid.spiffeID = "spiffe://td/b"
    case "another authority": svid.bundle = offered("spiffe://td/a", by: TestAuthority("td")).bundle
    case "expired": svid = planned { $0.notAfter = TestAuthority.epoch - 1 }
    case "not yet": svid = planned { $0.notBefore = TestAuthority.epoch + 1 }
    case "a client only": svid = planned { $0.extendedKeyUsage = "clientAuth" }
    default: svid = planned { $0.subjectAlternativeName = "URI:spiffe://td" }
    }
    if !svids.isEmpty { svids = [svid] }
    let error = #expect(throws: WorkloadTrouble.self) { try resolve(svids) }
    #expect(error?.description.isEmpty == false)
    #expect(try resolve([good]).svid.id.path == "/a", "the same unbroken")
  }

  @Test func nobodyPrintsAKey() throws {
    let bytes = try answer([offered("spiffe://td/a", by: td)])
    let offer = try WorkloadOffer(decoding: bytes)
    let key = Array(offered("spiffe://td/a", by: td).x509SvidKey)
    var text = ""
    dump(offer, to: &text)
    #expect(text.count < 200 && "\(offer)" == "1 SVIDs, 0 federated bundles", "\(key.count)")
  }

  /// Peer bytes never trap.
  @Test func mutilatedAnswersAreErrors() throws {
    let good = try answer(
      [offered("spiffe://td/a", by: td)], federated: ["spiffe://other": other.certificate])
    var generator = SeededGenerator(seed: 18)
    for _ in 0..<2_000 {
      var bytes = good
      for _ in 0..<Int.random(in: 1...4, using: &generator) {
        bytes[Int.random(in: bytes.indices, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
      }
      if Bool.random(using: &generator) {
        bytes.removeLast(Int.random(in: 0...bytes.count, using: &generator))
      }
      _ = try? WorkloadOffer(decoding: bytes).resolve(nil, at: epoch)
    }
  }
}
