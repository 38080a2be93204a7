// Goal: operators' commands do what they say and are answered once that is in force; what cannot be done changes
// nothing and says why.
// Method: an origin on a simulated host, asked through the admin interface; what it serves is looked up in the
// published generation.

import Admin
import Audit
import Foundation
import Ring
import Synchronization
import Testing

@testable import Tier

private let a = "spiffe://example.org/a"

@Suite(.serialized) struct GateDeskTests {
  private func origin(
    _ count: Int, report: @escaping (TierEvent) -> Void = { _ in }
  ) throws -> Origin {
    let origin = try Origin(
      """
      clusters:
        - {name: a, identities: ["spiffe://example.org/a"], allow: [{namespaces: [foo, bar]}]}
      """, report: report)
    try origin.write(0..<count)
    origin.control.start()
    origin.settle()
    return origin
  }

  private func order(_ command: AdminCommand, _ origin: Origin) throws -> CommandOutcome {
    let reply = try origin.ask(.command(command))
    try #require(reply.status == 200, "\(String(decoding: reply.body, as: UTF8.self))")
    return try JSONDecoder().decode(CommandOutcome.self, from: Data(reply.body))
  }

  private func refusal(_ command: AdminCommand, _ origin: Origin) throws -> (status: Int, text: String) {
    let reply = try origin.ask(.command(command))
    return (reply.status, String(decoding: reply.body, as: UTF8.self))
  }

  @Test func aMassRemovalWaitsForRelease() throws {
    let origin = try origin(20)
    try origin.write(0..<5)
    origin.settle()
    #expect(origin.seen(by: a).count == 20)
    let gate = try #require(try origin.status().gates.first)
    #expect(gate.kind == .held && gate.cluster == "a" && gate.heldBack.removed == 15)
    #expect(gate.reason.contains("15 of 20 networking.istio.io/Gateway"))
    let metrics = String(decoding: try origin.ask(.metrics).body, as: UTF8.self)
    #expect(metrics.contains("meshrelay_held_views 1"))
    let before = try origin.status().snapshot?.sequence
    let outcome = try order(.release(cluster: "a", type: nil), origin)
    #expect(outcome.held.isEmpty && outcome.message == "The cluster 'a' is served the newest snapshot")
    #expect(origin.seen(by: a).count == 5)
    #expect(try origin.status().gates.isEmpty)
    #expect(try #require(try origin.status().snapshot?.sequence) > #require(before))
  }

  @Test func aReleaseOfWhatIsNotHeldIsNone() throws {
    let told = Mutex<[TierEvent]>([])
    let origin = try origin(20) { event in told.withLock { $0.append(event) } }
    try origin.write(0..<5)
    origin.settle()
    let before = try origin.status().snapshot?.sequence
    let found = try refusal(.release(cluster: "a", type: "networking.istio.io/Sidecar"), origin)
    #expect(found.status == 409, "\(found)")
    #expect(
      found.text.contains(
        "The brake holds back no removals of networking.istio.io/Sidecar from the cluster 'a'"))
    #expect(found.text.contains("What it holds back: 15 networking.istio.io/Gateway."))
    #expect(try origin.status().snapshot?.sequence == before)
    func releases() -> [TierEvent] { told.withLock { $0.filter { $0.record?.event == .release } } }
    #expect(releases().isEmpty, "what was not done is not on record as done")
    _ = try order(.release(cluster: "a", type: "networking.istio.io/v1/Gateway"), origin)
    #expect(releases().map(\.record?.type) == ["networking.istio.io/Gateway"])
    #expect(origin.seen(by: a).count == 5)
  }

  @Test func whatIsOpenedBehindAGateOfAllIsToldSo() throws {
    let origin = try origin(3)
    let old = try #require(try origin.status().snapshot?.version)
    _ = try order(.pin(cluster: "a", version: old), origin)
    try origin.write(0..<4)
    origin.settle()
    _ = try order(.freeze(cluster: nil), origin)
    try origin.write(0..<5)
    origin.settle()
    let outcome = try order(.unpin(cluster: "a"), origin)
    #expect(origin.seen(by: a).count == 4)
    #expect(
      outcome.message.hasPrefix("Every cluster is frozen, and so is 'a' now: it is served "),
      "\(outcome.message)")
    #expect(outcome.version != nil && outcome.version != old)
    // The brake's hold, opened while everything is frozen.
    _ = try order(.thaw(cluster: nil), origin)
    try origin.write(0..<30)
    origin.settle()
    try origin.write(0..<2)
    origin.settle()
    _ = try order(.freeze(cluster: nil), origin)
    #expect(try order(.release(cluster: "a", type: nil), origin).message.contains("so is 'a' now"))
  }

  @Test func versionsAreListedAndCanBeGoneBackTo() throws {
    let origin = try origin(3)
    try origin.write(0..<4)
    origin.settle()
    struct History: Decodable {
      struct Version: Decodable {
        let version: String
        let resources: Int
      }
      let kept: String
      let versions: [Version]
    }
    let history = try JSONDecoder().decode(History.self, from: Data(try origin.ask(.history).body))
    #expect(history.kept == "memory" && history.versions.map(\.resources) == [4, 3])
    let old = history.versions[1].version
    let outcome = try order(.rollback(version: String(old.prefix(8)), cluster: nil), origin)
    #expect(outcome.version == old)
    #expect(origin.seen(by: a).count == 3)
    try origin.write(0..<6)
    origin.settle()
    #expect(origin.seen(by: a).count == 3)
    _ = try order(.thaw(cluster: nil), origin)
    #expect(origin.seen(by: a).count == 6)
    _ = try order(.pin(cluster: "a", version: old), origin)
    #expect(origin.seen(by: a).count == 3)
    #expect(
      String(decoding: try origin.ask(.metrics).body, as: UTF8.self).contains("meshrelay_pinned_clusters 1"))
    _ = try order(.unpin(cluster: "a"), origin)
    #expect(origin.seen(by: a).count == 6)
  }

  @Test func differencesAreToldBetweenWhatIsServedVersionsAndPolicies() throws {
    let origin = try origin(3)
    func diff(_ question: DiffQuestion) throws -> [String] {
      let reply = try origin.ask(.diff(question))
      let text = String(decoding: reply.body, as: UTF8.self)
      guard reply.status == 200 else { return ["\(reply.status) \(text)"] }
      let found = try JSONDecoder().decode([String: [String]].self, from: Data(reply.body))
      return found.sorted { $0.key < $1.key }.flatMap { key, names in names.map { "\(key) \($0)" } }
    }
    let gateway = "networking.istio.io/Gateway"
    #expect(try diff(DiffQuestion(.identity(a))) == [])
    _ = try order(.freeze(cluster: "a"), origin)
    try origin.write(1..<4)
    origin.settle()
    #expect(
      try diff(DiffQuestion(.identity(a))) == ["added \(gateway) foo/g3", "removed \(gateway) foo/g0"])
    struct History: Decodable {
      struct Version: Decodable { let version: String }
      let versions: [Version]
    }
    let history = try JSONDecoder().decode(History.self, from: Data(try origin.ask(.history).body))
    let old = String(history.versions[1].version.prefix(8))
    #expect(try diff(DiffQuestion(.identity(a), to: old)) == [])
    #expect(try diff(DiffQuestion(.identity(a), from: old)).count == 2)
    let narrow = """
      clusters:
        - {name: b, identities: ["spiffe://example.org/a"], allow: [{names: [g1]}]}
      """
    #expect(
      try diff(
        DiffQuestion(
          .identity(a), from: old, to: old,
          judge: .files([.init(path: "policy.yaml", content: Array(narrow.utf8))])))
        == ["removed \(gateway) foo/g0", "removed \(gateway) foo/g2"])
    // Somebody whom no policy knows is a slip of the pen, and not an empty answer.
    #expect(try diff(DiffQuestion(.identity("spiffe://example.org/x"), from: old))[0].hasPrefix("404"))
    #expect(
      try diff(
        DiffQuestion(.identity(a), judge: .files([.init(path: "p", content: Array("clusters: 1".utf8))])))[0]
        .hasPrefix("422"))
    #expect(try diff(DiffQuestion(.identity("nobody")))[0].hasPrefix("400"))
    #expect(try diff(DiffQuestion(.identity(a), from: "00000000"))[0].hasPrefix("404"))
  }

  @Test func aFolderThatTurnedEmptyIsTakenOverOnAnOperatorsWord() throws {
    let origin = try origin(3)
    #expect(try refusal(.adopt(source: "x"), origin).text.contains("The sources are: local"))
    #expect(try refusal(.adopt(source: "local"), origin).text.contains("is synced"))
    // A folder that is not there offers nothing, and so nothing is taken over.
    let aside = origin.folder.appendingPathExtension("aside")
    try FileManager.default.moveItem(at: origin.folder, to: aside)
    origin.control.reload(ReloadedFiles(plan: origin.plan))
    origin.network.run(for: .seconds(60))
    #expect(try origin.status().sources.map(\.state) == [.failed])
    let found = try refusal(.adopt(source: "local"), origin)
    #expect(found.status == 409 && found.text.contains("is not there"), "\(found)")
    try FileManager.default.moveItem(at: aside, to: origin.folder)
    try origin.write("many.yaml", gateway("foo", "g0"))
    origin.network.run(for: .seconds(60))
    #expect(try origin.status().sources.map(\.state) == [.synced])
    try origin.write(0..<3)
    origin.settle()
    try FileManager.default.removeItem(at: origin.folder.appending(path: "many.yaml"))
    // The simulated kernel tells of writes alone.
    try origin.write("note.txt", "not a manifest")
    origin.settle()
    #expect(try origin.status().sources.map(\.state) == [.failed])
    #expect(origin.seen(by: a).count == 3)
    _ = try order(.adopt(source: "local"), origin)
    origin.settle()
    #expect(try origin.status().sources.map(\.state) == [.synced])
    #expect(origin.seen(by: a).isEmpty)
  }

  @Test func whatCannotBeDoneSaysWhy() throws {
    let origin = try origin(3)
    let cases: [(AdminCommand, Int, String)] = [
      (.rollback(version: "1234567", cluster: nil), 400, "is no version"),
      (.rollback(version: "00000000", cluster: nil), 404, "No kept version begins with 00000000"),
      (.pin(cluster: "x", version: "00000000"), 404, "No kept version"),
      (.unpin(cluster: "x"), 404, "The policy has no cluster 'x'. Its clusters are: a"),
      (.unpin(cluster: "a"), 409, "is not pinned"),
      (.thaw(cluster: nil), 409, "No cluster is frozen or rolled back"),
      (.thaw(cluster: "a"), 409, "The cluster 'a' is not frozen or rolled back"),
      (.release(cluster: "a", type: nil), 409, "does not hold"),
      (.release(cluster: "a", type: "Gateway"), 400, "is not group/Kind"),
      (.release(cluster: "x", type: "networking.istio.io/Gateway"), 404, "The policy has no cluster 'x'"),
    ]
    let before = try origin.status().snapshot?.sequence
    for (command, status, text) in cases {
      let found = try refusal(command, origin)
      #expect(found.status == status && found.text.contains(text), "\(command): \(found)")
    }
    #expect(try origin.status().snapshot?.sequence == before, "what is refused publishes nothing")
    _ = try order(.freeze(cluster: "a"), origin)
    #expect(try refusal(.freeze(cluster: "a"), origin).status == 409)
  }
}

extension Origin {
  /// One file with these gateways, in place of what it had.
  fileprivate func write(_ range: Range<Int>) throws {
    let documents = range.map { number in
      """
      apiVersion: networking.istio.io/v1
      kind: Gateway
      metadata: {name: g\(number), namespace: foo}
      spec: {selector: {istio: ingress}}

      """
    }
    try write("many.yaml", documents.joined(separator: "---\n"))
  }
}
