// Goal: what the control side does is on record in its order: policies before what they publish, names once per view,
// operators who look; and a log that cannot be written makes the relay unready. Method: an origin without serve loops
// on a simulated host, its log a real file, workers inline.

import Admin
import Audit
import Foundation
import Primitives
import Ring
import Testing
import Trail

@testable import Tier

@Suite(.serialized) struct AuditDeskTests {
  private let folder = FileManager.default.temporaryDirectory.appending(path: "audit-\(UUID().uuidString)")

  private var path: String { folder.appending(path: "audit.jsonl").path(percentEncoded: false) }

  private func trail() throws -> TrailWriter {
    let settings = TrailSettings(path: path)
    return TrailWriter(
      settings, storage: TrailFile(settings), loops: 0, laneBytes: 1 << 20, worker: InlineWorker())
  }

  private struct Line: Decodable {
    let event: String
    let type: String?
    let version: String?
    let clusters: [String]?
    let reason: String?
    let spiffeID: String?
    let source: String?
    let node: String?
    let added: [String]?
    let removed: [String]?
    let addedCount: Int?
  }

  private func lines() throws -> [Line] {
    let text = try Data(contentsOf: URL(filePath: path))
    var verifier = AuditVerifier()
    _ = verifier.begin(file: path)
    #expect(verifier.receive(Array(text)) == nil && verifier.finish() == nil)
    return try text.split(separator: UInt8(ascii: "\n")).map { try JSONDecoder().decode(Line.self, from: $0) }
  }

  @Test func theControlSideIsOnRecord() throws {
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let policy = """
      clusters:
        - {name: a, identities: ["spiffe://example.org/a"], allow: [{namespaces: [foo, bar]}]}
        - {name: b, identities: ["spiffe://example.org/b"], allow: [{namespaces: [foo, bar]}]}
        - {name: c, identities: ["spiffe://example.org/c"], allow: [{}]}
      """
    let trail = try trail()
    let origin = try Origin(policy, trail: trail)
    try origin.write("one.yaml", gateway("foo", "g") + "---\n" + gateway("bar", "h"))
    origin.control.start()
    origin.settle()
    let first = try lines()
    #expect(first.map(\.event).prefix(2) == ["start", "policy"] && first[0].node == "origin")
    // Three clusters, two classes, one and the same step of both: told once.
    let published = first.filter { $0.event == "publish" }
    #expect(published.count == 1)
    #expect(published.first?.added == ["bar/h", "foo/g"] && published.first?.addedCount == 2)
    #expect(published.first?.clusters == ["a", "b", "c"])
    #expect(published.first?.type == "networking.istio.io/Gateway")
    #expect(first.contains { $0.event == "source" && $0.source == "local" && $0.reason == "synced" })
    #expect(first.contains { $0.event == "checkpoint" && $0.reason == "start" })
    #expect(
      try origin.status().audit == AuditStatus(state: .writing, head: trail.facts.checkpoint?.description))

    let narrow = policy.replacing("[foo, bar]", with: "[foo]")
    origin.control.reload(ReloadedFiles(plan: origin.plan, rules: try Origin.rules(narrow)))
    origin.control.reload(ReloadedFiles(plan: origin.plan, policyProblems: ["policy.yaml:1:1: bad"]))
    origin.control.reload(ReloadedFiles(plan: nil, configProblems: ["c:1:1: worse"]))
    _ = try origin.ask(.dump(identity: "spiffe://example.org/a", type: nil))
    origin.settle()
    let second = try lines().dropFirst(first.count)
    #expect(
      second.map(\.event) == ["config", "policy", "publish", "config", "policy", "config", "admin"])
    #expect(second.last?.spiffeID == "spiffe://example.org/a")
    let narrowed = try #require(second.first { $0.event == "publish" })
    #expect(narrowed.removed == ["bar/h"] && narrowed.clusters == ["a", "b"] && narrowed.reason == "policy")
    #expect(second.map(\.reason).contains("refused: policy.yaml:1:1: bad"))
    #expect(second.map(\.reason).contains("refused: c:1:1: worse"))

    // Ten minutes later.
    origin.network.run(for: .seconds(600))
    #expect(try lines().last?.event == "checkpoint")
    origin.control.audit.record(AuditRecord(.pin, cluster: "a", version: "v", reason: "asked to"))
    origin.control.audit.stop(reason: "asked to")
    #expect(try lines().map(\.event).suffix(3) == ["pin", "stop", "checkpoint"])
    trail.release()
  }

  @Test func aLogThatCannotBeWrittenMakesUnready() throws {
    let trail = try trail()
    // Its folder's folder is missing.
    let settings = TrailSettings(path: folder.path(percentEncoded: false) + "/deep/audit.jsonl")
    let broken = TrailWriter(
      settings, storage: TrailFile(settings), loops: 0, laneBytes: 1 << 20, worker: InlineWorker())
    defer { try? FileManager.default.removeItem(at: folder) }
    let origin = try Origin(
      "clusters:\n  - {name: a, identities: [\"spiffe://example.org/a\"], allow: [{}]}\n", trail: broken)
    origin.control.start()
    try origin.write("one.yaml", gateway("foo", "g"))
    origin.settle()
    let answer = try origin.ask(.readyz)
    #expect(answer.status == 503 && String(decoding: answer.body, as: UTF8.self).contains("audit log"))
    #expect(try origin.status().audit.state == .failing)
    #expect(String(decoding: try origin.ask(.metrics).body, as: UTF8.self).contains("meshrelay_audit_ok 0\n"))
    #expect(origin.seen(by: "spiffe://example.org/a") == ["foo/g"], "publishing goes on: it may take away")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    origin.settle()
    #expect(try origin.ask(.readyz).status == 200)
    broken.release()
    trail.release()
  }
}
