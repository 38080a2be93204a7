// Goal: one place decides whose word on a bundle counts, and what is taken back is gone.
// Method: the sources speak in every order; what it amounts to is compared.

import Glibc
import Identity
import Primitives
import Protos
import SPIFFE
import TLS
import TestCertificates
import Testing
import Transport
import Trust

private let td = TestAuthority("td")
private let fileTD = TestAuthority("td")
private let agentOther = TestAuthority("other")
private let fileOther = TestAuthority("other")

private func bundle(_ authority: TestAuthority) throws -> Bundle {
  try Bundle(trustDomain: try domain(authority.trustDomain), anchors: [authority.certificate])
}

private func fromAgent(_ federated: [String: [UInt8]]) throws -> WorkloadIdentity {
  try WorkloadOffer(decoding: answer([offered("spiffe://td/a", by: td)], federated: federated)).resolve(
    nil, at: epoch)
}

private func anchors(_ book: IdentityBook, _ name: String) throws -> [[UInt8]]? {
  book.credentials(generation: 1)?.bundles[try domain(name)]?.anchors
}

struct IdentityBookTests {
  @Test func nothingIsKnownAtFirst() throws {
    var book = IdentityBook()
    #expect(book.credentials(generation: 1) == nil)
    book.take(files: ([try domain("other"): try bundle(fileOther)], [:]))
    #expect(book.credentials(generation: 1) == nil)
  }

  @Test(arguments: [true, false])
  func whoseWordCounts(_ filesFirst: Bool) throws {
    var book = IdentityBook()
    let files: [TrustDomain: Bundle] = [
      try domain("td"): try bundle(fileTD), try domain("other"): try bundle(fileOther),
    ]
    if filesFirst { book.take(files: (files, [:])) }
    book.take(try fromAgent(["other": agentOther.certificate, "third": TestAuthority("third").certificate]))
    if !filesFirst { book.take(files: (files, [:])) }
    #expect(try anchors(book, "td") == [td.certificate], "our own: from where the SVID comes from")
    #expect(try anchors(book, "other") == [fileOther.certificate], "others: the operator's own word")
    #expect(try anchors(book, "third") != nil)
    #expect(book.doublyTold.map(\.name) == ["other", "td"])
  }

  /// What an endpoint published before the process was started is an older word than any that came since.
  @Test func aKeptBundleGivesWayToANewerWord() throws {
    let (kept, published, time) = (TestAuthority("other"), TestAuthority("other"), epoch.seconds)
    func endpoint() throws -> BundleEndpoint {
      BundleEndpoint(
        trustDomain: try domain("other"), target: HTTPSTarget(host: "h", port: 1, path: "/"), profile: .web)
    }
    func book(fileAt seconds: Int64?, sequence: UInt64? = nil, federated: Bool) throws -> IdentityBook {
      var book = IdentityBook()
      book.take(try fromAgent(federated ? ["other": agentOther.certificate] : [:]))
      if let seconds {
        var file = try Bundle(
          trustDomain: domain("other"), anchors: [fileOther.certificate], sequence: sequence)
        file.obtainedAt = Timestamp(seconds: seconds)
        book.take(files: ([try domain("other"): file], [:]))
      }
      let other = try Bundle(trustDomain: domain("other"), anchors: [kept.certificate], sequence: 7)
      book.take(
        kept: KeptBundle(endpoint: try endpoint(), bundle: other, fetchedAt: Timestamp(seconds: time)))
      return book
    }
    let cases: [(Int64?, UInt64?, Bool, TestAuthority)] = [
      (nil, nil, false, kept), (time - 1, nil, false, kept), (time + 1, nil, false, fileOther),
      (time + 1, 6, false, kept), (time - 1, 8, false, fileOther),
      // The agent speaks now; but where there is a file its word does not count.
      (nil, nil, true, agentOther), (time - 1, nil, true, kept), (time + 1, nil, true, fileOther),
    ]
    for (seconds, sequence, federated, expected) in cases {
      var book = try book(fileAt: seconds, sequence: sequence, federated: federated)
      let label: Comment = "file at \(seconds ?? -1), sequence \(sequence ?? 0), federated: \(federated)"
      #expect(try anchors(book, "other") == [expected.certificate], label)
      #expect(try book.bundle(of: domain("other"))?.anchors == [expected.certificate], label)
      #expect(try book.isKept(domain("other")) == (expected === kept), label)
      // And an answer of this process is the newest.
      book.take(published: try bundle(published))
      #expect(try anchors(book, "other") == [published.certificate] && !book.isKept(domain("other")), label)
      book.keep(endpointsOf: [])
      #expect(try anchors(book, "other") != [published.certificate], label)
    }
  }

  @Test func revocationsOfTheAgentHoldForEveryTrustDomain() throws {
    var book = IdentityBook()
    book.take(files: ([try domain("other"): try bundle(fileOther)], [:]))
    let lists = [fileOther.revoking([fileOther.issue("spiffe://other/x").chain[0]])]
    let offer = try WorkloadOffer(decoding: answer([offered("spiffe://td/a", by: td)], revocations: lists))
    book.take(try offer.resolve(nil, at: epoch))
    for name in ["td", "other"] {
      #expect(
        try book.credentials(generation: 1)?.bundles[domain(name)]?.revocations.map(\.der) == lists, "\(name)"
      )
    }
    // Every answer is the full state.
    book.take(try fromAgent([:]))
    #expect(try book.credentials(generation: 2)?.bundles[domain("other")]?.revocations.isEmpty == true)
    // One that cannot be read is no answer at all; nor is one that revokes what it brings.
    #expect(throws: WorkloadTrouble.malformed(reason: "revocation list 2 cannot be read")) {
      try WorkloadOffer(decoding: answer([offered("spiffe://td/a", by: td)], revocations: lists + [[1]]))
    }
    let own = offered("spiffe://td/a", by: td)
    let revoking = [td.revoking([Array(own.x509Svid)])]
    #expect(throws: WorkloadTrouble.self) {
      try WorkloadOffer(decoding: answer([own], revocations: revoking)).resolve(nil, at: epoch)
    }
  }

  @Test func anSVIDIsTakenBackByWhoGaveIt() throws {
    var book = IdentityBook()
    var didTake = book.withdraw(at: epoch)
    #expect(!didTake, "there is none")
    book.take(try fromAgent(["other": agentOther.certificate]))
    #expect(book.credentials(generation: 1)?.withdrawnAt == nil)
    didTake = book.withdraw(at: epoch)
    #expect(didTake)
    let later = Timestamp(seconds: epoch.seconds + 5)
    didTake = book.withdraw(at: later)
    #expect(!didTake, "once")
    #expect(book.credentials(generation: 2)?.withdrawnAt == epoch)
    #expect(try anchors(book, "other") != nil, "whom we trust is another matter")
    book.take(try fromAgent([:]))
    #expect(book.credentials(generation: 3)?.withdrawnAt == nil, "given again")
  }

  @Test func whatIsTakenBackIsGone() throws {
    var book = IdentityBook()
    book.take(try fromAgent(["other": agentOther.certificate]))
    #expect(try anchors(book, "other") != nil)
    book.take(try fromAgent([:]))
    #expect(try anchors(book, "other") == nil)
  }

  @Test func whatTurnsBadStaysAsItWas() throws {
    var book = IdentityBook()
    book.take(try fromAgent(["other": agentOther.certificate]))
    book.take(try fromAgent(["other": [1, 2, 3]]))
    #expect(try anchors(book, "other") == [agentOther.certificate])
    let files = [try domain("other"): try bundle(fileOther)]
    book.take(files: (files, [:]))
    book.take(files: ([:], [try domain("other"): .fileUnreadable(path: "b", number: ENOENT)]))
    #expect(try anchors(book, "other") == [fileOther.certificate])
    book.take(files: ([:], [:]))
    #expect(try anchors(book, "other") == [agentOther.certificate], "the file is no longer configured")
  }
}
