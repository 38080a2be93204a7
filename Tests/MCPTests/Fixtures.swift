// What the tests of this room build views and messages from.

import Primitives
import Snapshots

@testable import MCP

/// The kind of this name; of two Gateways the one that the classic protocol knew.
func kind(_ name: String) -> Kind {
  guard let kind = (Kinds.all + Kinds.classic).first(where: { $0.type.kind == name && $0.collection != nil })
  else { preconditionFailure("a fixture names the unknown kind \(name)") }
  return kind
}

/// `prod/NAME` with this body, or `NAME` alone for kinds without namespaces; for MeshConfig its one object.
func resource(_ name: String, of kindName: String, _ body: String, source: String = "central") -> Resource {
  let kind = kind(kindName)
  do {
    return try Admission.admit(
      type: kind.type,
      draft: ResourceDraft(
        namespace: kind.isClusterScoped ? "" : "prod", name: name,
        createTime: Timestamp(seconds: 1_700_000_000), bodyMessage: kind.bodyMessage, body: Array(body.utf8),
        source: source),
      limits: Limits())
  } catch {
    preconditionFailure("a fixture breaks a rule of admission: \(error)")
  }
}

func virtualService(_ name: String, _ body: String) -> Resource {
  resource(name, of: "VirtualService", body)
}

let services = "istio/networking/v1alpha3/virtualservices"
let gateways = "istio/networking/v1alpha3/gateways"

func position(sequence: UInt64 = 1) -> Position {
  Position(
    origin: "mesh", sequence: sequence, published: Timestamp(seconds: Int64(sequence)),
    path: [PathElement(instance: "i1", node: "edge")])
}

/// A view where every type is ready.
func view(_ number: UInt64, _ visible: [Resource], hidden: [Resource] = []) -> View {
  View(
    number: number, collections: collections(visible),
    snapshot: Snapshot(
      collections: collections(visible + hidden), pending: [], isComplete: true,
      position: position(sequence: number)))
}

func collections(_ resources: [Resource]) -> [TypeName: Collection] {
  Dictionary(grouping: resources, by: \.type).mapValues { Collection($0) }
}

/// Seconds after the start of a test.
func at(_ seconds: Double) -> Instant {
  Instant(nanoseconds: 1_000_000_000_000) + .milliseconds(Int64(seconds * 1000))
}

/// A message decoded as a sink would, with the names and bodies of its resources.
struct ReadMessage {
  let head: SourceHead
  let contents: [(name: String, body: String)]

  init(_ bytes: [UInt8], _ method: MCPMethod, collection: String) throws {
    let received = try ReceivedResources(bytes, method: method)
    head = received.head
    contents = try received.elements.map { element in
      guard let type = MCPCollection(collection).type else { return ("?", "?") }
      let read = try Admission.admit(
        type: type, envelope: element.rest, wrapperName: nil, source: "test", seen: Timestamp(seconds: 0),
        limits: Limits())
      return (read.wireName, String(decoding: read.body, as: UTF8.self))
    }
  }
}

/// The fields of a request, in short.
func request(
  _ collection: String, nonce: String = "", holds: [String: String] = [:], incremental: Bool = false,
  fault: RequestFault? = nil
) -> SinkRequest {
  var request = SinkRequest()
  request.collection = collection
  request.nonce = nonce
  request.initialVersions = holds
  request.isIncremental = incremental
  request.fault = fault
  return request
}
