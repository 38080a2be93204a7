// Goal: every request of the admin interface survives the trip through its HTTP form, and nothing else is read.
// Method: a table there and back, a table of refusals, and every byte 0…255 as a parameter's value.

import Admin
import Testing

struct AdminRequestTests {
  static let all: [AdminRequest] = [
    .healthz, .readyz, .metrics, .status, .history,
    .dump(identity: "spiffe://td/a", type: nil),
    .dump(identity: "spiffe://td/a b&c=d%", type: "networking.istio.io/VirtualService"),
    .explain(identity: "spiffe://td/a", type: "g/K", name: "ns/n"),
    .diff(DiffQuestion(.identity("spiffe://td/a"))),
    .diff(DiffQuestion(.identity("spiffe://td/a"), from: "01234567", to: "89abcdef")),
    .diff(DiffQuestion(.all, judge: .shadow)), .diff(DiffQuestion(.cluster("a b"), judge: .files([]))),
    .diff(
      DiffQuestion(
        .identity("spiffe://td/a"), to: "89abcdef",
        judge: .files([
          .init(path: "a.yaml", content: Array("clusters: []\n#meshrelay-files\n3".utf8)),
          .init(path: "b.yaml", content: []),
        ]))),
    .command(.rollback(version: "01234567", cluster: nil)),
    .command(.rollback(version: "01234567", cluster: "a")),
    .command(.pin(cluster: "a", version: "01234567")),
    .command(.unpin(cluster: "a")),
    .command(.freeze(cluster: nil)), .command(.freeze(cluster: "a")),
    .command(.thaw(cluster: nil)), .command(.thaw(cluster: "a")),
    .command(.release(cluster: "a", type: nil)), .command(.release(cluster: "a", type: "g/K")),
    .command(.adopt(source: "central")),
    .transfer(.beginExport(identity: nil)), .transfer(.beginExport(identity: "spiffe://td/a")),
    .transfer(.readExport(ticket: .max, from: 7)),
    .transfer(.beginImport(ImportTerms())),
    .transfer(.beginImport(ImportTerms(source: "up", adopts: true, isDryRun: true))),
    .transfer(.writeImport(ticket: 1, from: 0, bytes: [0, 10, 255])),
    .transfer(.endImport(ticket: 1, bytes: 3)),
  ]

  @Test(arguments: all) func readsBack(_ request: AdminRequest) throws {
    #expect(try AdminRequest(method: request.method, target: request.target, body: request.body) == request)
  }

  @Test func onlyProbesAndMetricsAreOpen() {
    #expect(Self.all.filter(\.isOpen) == [.healthz, .readyz, .metrics])
  }

  @Test(arguments: [
    ("GET", "", AdminRequestError.malformedTarget("")),
    ("GET", "status", .malformedTarget("status")),
    ("GET", "http://host/status", .malformedTarget("http://host/status")),
    ("GET", "/dump?as=%zz", .malformedTarget("/dump?as=%zz")),
    ("GET", "/dump?as=%f", .malformedTarget("/dump?as=%f")),
    ("GET", "/dump?as=%ff", .malformedTarget("/dump?as=%ff")),
    ("GET", "/nothing", .noSuchPath("/nothing")),
    ("GET", "/status/", .noSuchPath("/status/")),
    ("POST", "/status", .wrongMethod("POST", path: "/status", allowed: "GET")),
    ("GET", "/freeze", .wrongMethod("GET", path: "/freeze", allowed: "POST")),
    ("GET", "/dump", .missingParameter("as", path: "/dump")),
    ("GET", "/dump?as=", .emptyParameter("as", path: "/dump")),
    ("GET", "/dump?as", .emptyParameter("as", path: "/dump")),
    // What a script leaves empty by mistake never means everything.
    ("GET", "/dump?as=x&type=", .emptyParameter("type", path: "/dump")),
    ("POST", "/freeze?cluster=", .emptyParameter("cluster", path: "/freeze")),
    ("POST", "/thaw?cluster=", .emptyParameter("cluster", path: "/thaw")),
    ("POST", "/rollback?version=x&cluster=", .emptyParameter("cluster", path: "/rollback")),
    ("POST", "/release?cluster=x&type=", .emptyParameter("type", path: "/release")),
    ("POST", "/export?as=", .emptyParameter("as", path: "/export")),
    ("POST", "/import?source=", .emptyParameter("source", path: "/import")),
    ("GET", "/diff?as=x&from=", .emptyParameter("from", path: "/diff")),
    ("GET", "/diff?cluster=&as=x", .emptyParameter("cluster", path: "/diff")),
    ("POST", "/import?dryRun=1", .notAFlag("dryRun", value: "1", path: "/import")),
    ("GET", "/diff", .missingParameter("as=ID, cluster=NAME or all=true", path: "/diff")),
    ("GET", "/explain?as=x&type=y", .missingParameter("name", path: "/explain")),
    ("POST", "/pin?cluster=a", .missingParameter("version", path: "/pin")),
    ("GET", "/export", .wrongMethod("GET", path: "/export", allowed: "POST")),
    ("POST", "/export?ticket=1", .missingParameter("from", path: "/export")),
    ("POST", "/import?ticket=1", .missingParameter("from", path: "/import")),
    ("POST", "/import?ticket=-1&from=0", .malformedTarget("/import?ticket=-1&from=0")),
    (
      "POST", "/import?ticket=1&end=18446744073709551616",
      .malformedTarget("/import?ticket=1&end=18446744073709551616")
    ),
  ])
  func refuses(method: String, target: String, error: AdminRequestError) {
    #expect(throws: error) { try AdminRequest(method: method, target: target) }
  }

  @Test(arguments: ["clusters: []", "", "#meshrelay-files\na\n9\nshort", "#meshrelay-files\na\n-1\n"])
  func aBodyWithoutItsFrameIsOneFile(_ text: String) throws {
    let request = try AdminRequest(method: "POST", target: "/diff?as=a", body: Array(text.utf8))
    let file = DiffQuestion.File(path: "policy", content: Array(text.utf8))
    #expect(request == .diff(DiffQuestion(.identity("a"), judge: .files([file]))))
  }

  @Test func unknownParametersAreIgnoredAndTheFirstOfTwoCounts() throws {
    let request = try AdminRequest(method: "GET", target: "/dump?x=&as=a&as=b")
    #expect(request == .dump(identity: "a", type: nil))
  }

  @Test(arguments: UInt8.min...UInt8.max) func everyScalarOfOneByteSurvives(_ byte: UInt8) throws {
    let request = AdminRequest.dump(identity: "x" + String(Unicode.Scalar(byte)), type: nil)
    #expect(try AdminRequest(method: "GET", target: request.target) == request)
  }

  @Test func errorsAreJSON() {
    let reply = AdminReply.error(.missingParameter("as", path: "/dump"))
    #expect(reply.status == 400)
    #expect(String(decoding: reply.body, as: UTF8.self) == #"{"error":"/dump needs the parameter 'as'."}"#)
  }
}
