// Goal: exactly the host names that istiod itself would complete are completed, before the hash, and every other
// byte of a body stays. Method: bodies written field by field, completed and compared.

import Primitives
import Testing

@testable import Snapshots

struct ShortHostsTests {
  private let full = ShortHosts(domain: "cluster.local")

  private func completed(_ body: [UInt8], _ message: String, namespace: String = "prod") throws -> [UInt8]? {
    let draft = ResourceDraft(
      namespace: namespace, name: "a", createTime: Timestamp(seconds: 1),
      bodyMessage: "istio.networking.v1alpha3." + message, body: body, source: "s")
    return try full.rewriter(draft, TypeName(group: "networking.istio.io", kind: message))
  }

  private func rule(_ host: String) -> [UInt8] {
    var writer = ProtobufWriter()
    writer.string(1, host)
    writer.message(3) { $0.string(1, "v1") }
    return writer.bytes
  }

  @Test(
    arguments: [
      ("reviews", "reviews.prod.svc.cluster.local"), ("a-1", "a-1.prod.svc.cluster.local"),
      ("reviews.prod", nil), ("reviews.", nil), ("*", nil), ("*-wild", nil), ("10.0.0.1", nil), ("::1", nil),
      ("", nil), ("other/reviews", nil),
    ] as [(String, String?)])
  func namesThatCountAsShort(_ host: String, _ expected: String?) throws {
    #expect(try completed(rule(host), "DestinationRule") == expected.map { rule($0) })
  }

  /// Every destination of a VirtualService, and nothing else that looks like one.
  private func virtualService(_ host: (String) -> String) -> [UInt8] {
    var writer = ProtobufWriter()
    writer.string(1, host("reviews"))
    writer.string(1, "reviews.example.org")
    writer.string(2, "gateway")
    writer.message(3) { http in
      http.message(1) { $0.string(8, "mesh") }
      http.message(2) { route in
        route.message(1) { destination in
          destination.string(1, host("ratings"))
          destination.string(2, "v1")
          destination.message(3) { $0.integer(1, 9080) }
        }
        route.integer(2, 100)
      }
      http.message(4) { $0.string(2, "authority") }
      http.message(9) { $0.string(1, host("mirror")) }
      http.message(22) { mirrors in mirrors.message(1) { $0.string(1, host("mirrors")) } }
      http.message(20) { $0.string(1, "delegate") }
    }
    writer.message(5) { tls in
      tls.message(1) { $0.string(1, "sni") }
      tls.message(2) { route in route.message(1) { $0.string(1, host("tls")) } }
    }
    writer.message(4) { tcp in tcp.message(2) { route in route.message(1) { $0.string(1, host("tcp")) } } }
    writer.string(6, "exported")
    return writer.bytes
  }

  @Test func everyDestinationAndNothingElse() throws {
    let expected = virtualService { $0 + ".prod.svc.cluster.local" }
    #expect(try completed(virtualService { $0 }, "VirtualService") == expected)
    #expect(try completed(expected, "VirtualService") == nil, "what is whole is left alone")
  }

  @Test(
    arguments: [
      ("./reviews", "./reviews.prod.svc.cluster.local"), ("bank/a", "bank/a.bank.svc.cluster.local"),
      ("*/reviews", nil), ("./*", nil), ("bank/a.example.org", nil), ("~/*", nil), ("reviews", nil),
    ] as [(String, String?)])
  func aSidecarNamesTheNamespaceItself(_ host: String, _ expected: String?) throws {
    func sidecar(_ host: String) -> [UInt8] {
      var writer = ProtobufWriter()
      writer.message(3) { $0.string(4, host) }
      return writer.bytes
    }
    #expect(try completed(sidecar(host), "Sidecar") == expected.map { sidecar($0) })
  }

  @Test func otherKindsAndThoseWithoutNamespaceStay() throws {
    #expect(try completed(rule("reviews"), "ServiceEntry") == nil)
    #expect(try completed(rule("reviews"), "DestinationRule", namespace: "") == nil)
  }

  @Test func aBodyThatCannotBeReadIsRefused() throws {
    #expect(throws: BodyFault.self) { try completed([0x0a, 0x05, 0x61], "DestinationRule") }
    // The host is no text.
    #expect(throws: BodyFault.self) { try completed([0x08, 0x01], "DestinationRule") }
  }

  @Test func theHashIsThatOfWhatIsServed() throws {
    func admit(_ host: String, _ intake: Intake) throws -> Resource {
      let type = TypeName(group: "networking.istio.io", kind: "DestinationRule")
      let draft = ResourceDraft(
        namespace: "prod", name: "a", createTime: Timestamp(seconds: 1),
        bodyMessage: "istio.networking.v1alpha3.DestinationRule", body: rule(host), source: "s")
      return try Admission.admit(type: type, draft: draft, limits: Limits(), intake: intake)
    }
    let short = try admit("reviews", Intake(rewrite: full.rewriter))
    let whole = try admit("reviews.prod.svc.cluster.local", Intake())
    #expect(short.version == whole.version && short.body == whole.body)
    #expect(try admit("reviews", Intake()).version != whole.version)
  }
}
