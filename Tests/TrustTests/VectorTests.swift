// Goal: the verdict on a chain is that of the published vectors, rule by rule. Method: every vector of
// Vectors/svid-vectors.json (README.md there), which certificates of another implementation make up.

import Foundation
import Primitives
import SPIFFE
import TLS
import Testing
import Trust

private struct VectorFile: Decodable {
  struct Vector: Decodable, CustomTestStringConvertible {
    let rule: Int
    let title: String
    let time: String
    let role: String
    let chain: [String]
    let bundles: [String: [String]]
    /// Of any issuer; nil: none.
    let revocations: [String]?
    let expect: [String: String]

    var testDescription: String { "\(rule) \(title)" }
  }

  let version: Int
  let vectors: [Vector]

  static let all: [Vector] = {
    let folder = URL(filePath: #filePath).deletingLastPathComponent()
    guard let data = try? Data(contentsOf: folder.appending(path: "Vectors/svid-vectors.json")),
      let file = try? JSONDecoder().decode(VectorFile.self, from: data), file.version == 2
    else { return [] }
    return file.vectors
  }()
}

private func der(_ text: String) throws -> [UInt8] { Array(try #require(Data(base64Encoded: text))) }

struct VectorTests {
  @Test func everyRuleHasVectors() {
    #expect(Set(VectorFile.all.map(\.rule)) == Set(Array(1...11) + [13]))
    #expect(VectorFile.all.count >= 80)
  }

  @Test(arguments: VectorFile.all)
  fileprivate func theVerdict(_ vector: VectorFile.Vector) throws {
    var bundles: [TrustDomain: Trust.Bundle] = [:]
    for (name, anchors) in vector.bundles {
      let domain = try TrustDomain(name)
      bundles[domain] = try Trust.Bundle(trustDomain: domain, anchors: try anchors.map(der))
      bundles[domain]?.revocations = try (vector.revocations ?? []).map { try RevocationList(der: der($0)) }
    }
    let chain = try vector.chain.map(der)
    let time = try #require(Timestamp(rfc3339: vector.time))
    var found: [String: String]
    do throws(VerificationFailure) {
      let peer = try verifyPeer(
        chain: chain, bundles: bundles, at: time, role: vector.role == "server" ? .server : .client)
      found = ["id": peer.id.description]
    } catch {
      found = ["result": error.handshakeResult]
    }
    #expect(found == vector.expect)
  }
}
