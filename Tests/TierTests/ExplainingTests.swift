// Goal: `explain` says what stands between an object and a client: a rule, a gate, a redaction, a source that set it
// aside, or that it is not there; a shadow policy changes numbers and nothing else, and what is bad about it is told.
// Method: an origin on a simulated host, asked through the admin interface.

import Admin
import Foundation
import Policy
import Primitives
import Synchronization
import Testing

@testable import Tier

private let a = "spiffe://example.org/a"
private let type = "networking.istio.io/Gateway"

private struct Answer: Decodable {
  struct Gate: Decodable { let kind: String }
  let visible: Bool
  let effect: String
  let reason: String
  let redacted: [String]
  let gate: Gate?
}

@Suite(.serialized) struct ExplainingTests {
  private func origin(_ text: String) throws -> Origin {
    let origin = try Origin(
      """
      clusters:
        - {name: a, identities: ["spiffe://example.org/a"], allow: [{namespaces: [foo]}], redact: {labels: [owner]}}
      """)
    try origin.write("one.yaml", text)
    origin.control.start()
    origin.settle()
    return origin
  }

  private func explain(_ name: String, _ origin: Origin) throws -> Answer {
    let reply = try origin.ask(.explain(identity: a, type: type, name: name))
    return try JSONDecoder().decode(Answer.self, from: Data(reply.body))
  }

  private func order(_ command: AdminCommand, _ origin: Origin) throws {
    #expect(try origin.ask(.command(command)).status == 200)
  }

  @Test func saysWhatAGateMakesOfIt() throws {
    let origin = try origin(gateway("foo", "stays") + "---\n" + gateway("foo", "goes"))
    var answer = try explain("foo/goes", origin)
    #expect(answer.visible && answer.gate == nil)
    try order(.freeze(cluster: "a"), origin)
    try origin.write(
      "one.yaml",
      gateway("foo", "stays").replacing("ingress", with: "other") + "---\n" + gateway("foo", "new"))
    origin.settle()
    answer = try explain("foo/goes", origin)
    #expect(answer.visible && answer.gate?.kind == "frozen")
    #expect(answer.reason.contains("gone from the newest snapshot"), "\(answer.reason)")
    answer = try explain("foo/new", origin)
    #expect(!answer.visible && answer.effect == "allow" && answer.reason.contains("not served yet"))
    #expect(try explain("foo/stays", origin).reason.contains("an older form"))
    #expect(try explain("bar/none", origin).reason.contains("not in the snapshot"))
    #expect(try explain("none", origin).reason.contains("objects of this kind are called NAMESPACE/NAME"))
    let slip = try origin.ask(.explain(identity: a, type: "networking.istio.io/Gatewy", name: "foo/new"))
    #expect(String(decoding: slip.body, as: UTF8.self).contains("did you mean networking.istio.io/Gateway?"))
    try order(.thaw(cluster: "a"), origin)
    #expect(try explain("foo/new", origin).visible)
  }

  @Test func saysWhatIsHidden() throws {
    let labelled = gateway("foo", "g").replacing(
      "namespace: foo}", with: "namespace: foo, labels: {owner: x, tier: edge}}")
    let origin = try origin(labelled)
    let answer = try explain("foo/g", origin)
    #expect(answer.visible && answer.redacted == ["label owner"])
    let dump = String(decoding: try origin.ask(.dump(identity: a, type: nil)).body, as: UTF8.self)
    #expect(dump.contains("\"tier\"") && !dump.contains("\"owner\""))
  }

  private func dump(_ identity: String, _ origin: Origin, type: String? = nil) throws -> String {
    let reply = try origin.ask(.dump(identity: identity, type: type))
    return "\(reply.status) \(String(decoding: reply.body, as: UTF8.self))"
  }

  @Test func whoIsServedNothingIsToldWhy() throws {
    let origin = try Origin(
      """
      clusters:
        - {name: a, identities: ["spiffe://example.org/a"], allow: [{namespaces: [foo]}]}
        - {name: b, identities: ["spiffe://example.org/b"], allow: [{namespaces: [bar]}]}
      blocked: ["spiffe://example.org/stolen/*"]
      """)
    origin.control.start()
    // Nothing was read yet: an empty list would say that there is nothing.
    origin.control.ask(.dump(identity: a, type: nil)) { reply in
      #expect(reply.status == 503 || reply.status == 200)
    }
    try origin.write("one.yaml", gateway("foo", "f"))
    origin.settle()
    #expect(try dump(a, origin).hasPrefix("200 [{"))
    #expect(try dump("spiffe://example.org/b", origin) == "200 []", "this one is served nothing indeed")
    let unknown = try dump("spiffe://example.org/x", origin)
    #expect(
      unknown.hasPrefix("404 ") && unknown.contains("No cluster has the identity spiffe://example.org/x")
        && unknown.contains("The policy is policy.yaml"), "\(unknown)")
    let blocked = try dump("spiffe://example.org/stolen/1", origin)
    #expect(
      blocked.hasPrefix("403 ")
        && blocked.contains("spiffe://example.org/stolen/* stands under blocked at policy.yaml:4:11"),
      "\(blocked)")
    for (identity, status) in [("spiffe://example.org/x", 404), ("spiffe://example.org/stolen/1", 403)] {
      #expect(try origin.ask(.transfer(.beginExport(identity: identity))).status == status)
    }
    // Places are of what is in force, whatever the file says by now.
    origin.control.reload(ReloadedFiles(plan: origin.plan, policyProblems: ["policy.yaml:1:1: no"]))
    origin.settle()
    for identity in ["spiffe://example.org/x", "spiffe://example.org/stolen/1"] {
      #expect(try dump(identity, origin).contains("not of the files as they are now, which were refused"))
    }
    #expect(try explain("foo/f", origin).reason.contains("which were refused"))
    // Nothing that is done with clusters changes anything for who is blocked, and that is said.
    let reply = try origin.ask(.diff(DiffQuestion(.identity("spiffe://example.org/stolen/1"))))
    #expect(reply.status == 200)
    #expect(
      String(decoding: reply.body, as: UTF8.self).contains(
        #""note":"The identity spiffe://example.org/stolen/1 is blocked"#))
  }

  @Test func whatIsNotAnsweredYetIsNotSaidToBeEmpty() throws {
    let edge = try Origin(
      """
      clusters:
        - {name: a, identities: ["spiffe://example.org/a"], allow: [{namespaces: [foo]}]}
      """, upstream: "198.51.100.1")
    edge.control.start()
    edge.settle()
    #expect(try dump(a, edge).hasPrefix("503 {\"error\":\"Nothing is served yet: "))
    #expect(try dump(a, edge, type: type).hasPrefix("503 {\"error\":\"Nobody is served \(type) yet"))
    #expect(try edge.ask(.diff(DiffQuestion(.identity(a)))).status == 503)
    #expect(try dump("spiffe://example.org/x", edge).hasPrefix("404"))
  }

  @Test func aShadowIsCountedAndNeverServed() throws {
    let origin = try origin(gateway("foo", "f") + "---\n" + gateway("bar", "b"))
    #expect(try origin.status().shadow == nil)
    let other = try Origin.rules(
      "clusters: [{name: a, identities: [\"spiffe://example.org/a\"], allow: [{namespaces: [bar]}]}]")
    func reload(_ shadow: ShadowFile) {
      origin.control.reload(
        ReloadedFiles(plan: origin.plan, rules: origin.control.rules, shadow: shadow))
      origin.settle()
    }
    reload(.refused(["next.yaml:1:1: no"]))
    #expect(try origin.status().shadow?.state == FileState.none)
    let none = try origin.ask(.diff(DiffQuestion(.all, judge: .shadow)))
    #expect(none.status == 404 && String(decoding: none.body, as: UTF8.self).contains("next.yaml:1:1: no"))
    reload(.rules(other))
    var status = try #require(try origin.status().shadow)
    #expect(status.state == .current && status.hash == other.hash)
    #expect(status.clusters == [.init(cluster: "a", added: 1, changed: 0, removed: 1)])
    #expect(origin.seen(by: a) == ["foo/f"])
    try origin.write("two.yaml", gateway("bar", "c"))
    origin.settle()
    #expect(try origin.status().shadow?.clusters.first?.added == 2)
    reload(.refused(["next.yaml:1:1: no"]))
    status = try #require(try origin.status().shadow)
    #expect(status.state == .refused && status.error == "next.yaml:1:1: no" && status.clusters.count == 1)
    for subject in [DiffQuestion.Subject.all, .identity(a), .cluster("a")] {
      let stale = try origin.ask(.diff(DiffQuestion(subject, judge: .shadow)))
      let text = String(decoding: stale.body, as: UTF8.self)
      #expect(
        stale.status == 200 && text.contains(#""note":"The shadow policy as it is now was refused, and this"#)
      )
    }
    #expect(
      String(decoding: try origin.ask(.diff(DiffQuestion(.all))).body, as: UTF8.self).contains("note")
        == false)
    // The policy in force becomes what the shadow says: nothing differs any more.
    origin.control.reload(ReloadedFiles(plan: origin.plan, rules: other, shadow: .rules(other)))
    origin.settle()
    #expect(try origin.status().shadow?.clusters == [])
    let question = DiffQuestion(.all, judge: .shadow)
    #expect(try origin.ask(.diff(question)).status == 200)
    reload(.none)
    #expect(try origin.status().shadow == nil)
    #expect(try origin.ask(.diff(question)).status == 404)
  }

  /// A comparison may take a second, and a grant that ends must not wait for it.
  @Test(arguments: [true, false]) func whatIsWrittenOutLeavesThePublisherFree(hasState: Bool) throws {
    let (publisher, store) = (PausedWorker(), PausedWorker())
    let inline = InlineWorker()
    let state = FileManager.default.temporaryDirectory.appending(path: "state-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: state) }
    let rules = { (namespaces: String) in
      "clusters: [{name: a, identities: [\"spiffe://example.org/a\"], allow: [{namespaces: [\(namespaces)]}]}]"
    }
    let origin = try Origin(
      rules("foo, bar"), state: hasState ? state.path(percentEncoded: false) : nil,
      workers: Workers(
        identity: inline, manifests: inline, publisher: publisher, resolver: inline, store: store))
    try origin.write("one.yaml", gateway("foo", "f") + "---\n" + gateway("bar", "b"))
    origin.control.start()
    origin.settle()
    #expect(origin.seen(by: a) == ["foo/f", "bar/b"])
    // They wait for the store's worker, and the publisher narrows meanwhile.
    store.isPaused = true
    let answers = Mutex(0)
    for request in [AdminRequest.diff(DiffQuestion(.all)), .dump(identity: a, type: nil)] {
      origin.control.ask(request) { _ in answers.withLock { $0 += 1 } }
    }
    origin.settle()
    #expect(answers.withLock { $0 } == 0)
    origin.control.reload(ReloadedFiles(plan: origin.plan, rules: try Origin.rules(rules("foo"))))
    origin.settle()
    #expect(origin.seen(by: a) == ["foo/f"])
    store.isPaused = false
    // And the other way round.
    publisher.isPaused = true
    #expect(try origin.ask(.diff(DiffQuestion(.all))).status == 200)
    #expect(try origin.ask(.dump(identity: a, type: nil)).status == 200)
    publisher.isPaused = false
  }

  @Test func allClustersAreToldApart() throws {
    let origin = try origin(gateway("foo", "f") + "---\n" + gateway("bar", "b"))
    let files = ["a", "b", "c"].map { name in
      DiffQuestion.File(
        path: "\(name).yaml",
        content: Array(
          "clusters: [{name: \(name), identities: [\"spiffe://example.org/\(name)\"], allow: [{namespaces: [bar]}]}]"
            .utf8))
    }
    let reply = try origin.ask(.diff(DiffQuestion(.all, judge: .files(files))))
    struct Found: Decodable {
      struct Change: Decodable {
        let clusters: [String]
        let added: [String]
        let removedTotal: Int
      }
      let changes: [Change]
      let unchanged: Int
    }
    let found = try JSONDecoder().decode(Found.self, from: Data(reply.body))
    #expect(found.changes.map(\.clusters) == [["a"], ["b", "c"]] && found.unchanged == 0)
    #expect(found.changes.map(\.added) == [["\(type) bar/b"], ["\(type) bar/b"]])
    #expect(found.changes.map(\.removedTotal) == [1, 0])
    let bad = try origin.ask(
      .diff(
        DiffQuestion(.all, judge: .files(files + [.init(path: "/x/bad.yaml", content: Array("a: 1".utf8))]))))
    #expect(bad.status == 422 && String(decoding: bad.body, as: UTF8.self).contains("/x/bad.yaml:1:1"))
    #expect(try origin.ask(.diff(DiffQuestion(.cluster("nobody")))).status == 404)
  }
}
