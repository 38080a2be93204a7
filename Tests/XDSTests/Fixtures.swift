// What the tests of this room build views and messages from.

import Primitives
import Snapshots

@testable import XDS

let networking = "networking.istio.io"

func type(_ kind: String) -> TypeName {
  kind == "MeshConfig" ? TypeName(group: "core", kind: kind) : TypeName(group: networking, kind: kind)
}

/// `prod/NAME` with this body; for MeshConfig its one object.
func resource(_ kind: String, _ name: String, _ body: String, source: String = "central") -> Resource {
  let known = Kinds[type(kind)]
  do {
    return try Admission.admit(
      type: type(kind),
      draft: ResourceDraft(
        namespace: "prod", name: name, createTime: Timestamp(seconds: 1_700_000_000),
        bodyMessage: known?.bodyMessage ?? "acme.Thing", body: Array(body.utf8), source: source),
      limits: Limits())
  } catch {
    preconditionFailure("a fixture breaks a rule of admission: \(error)")
  }
}

func position(sequence: UInt64 = 1, origin: String = "mesh", path: [String] = ["i1"]) -> Position {
  Position(
    origin: origin, sequence: sequence, published: Timestamp(seconds: Int64(sequence)),
    path: path.map { PathElement(instance: $0, node: "edge") })
}

/// A view where every type is ready.
func view(
  _ number: UInt64, _ visible: [String: [Resource]], hidden: [String: [Resource]] = [:]
) -> View {
  var seen: [TypeName: Collection] = [:]
  var all: [TypeName: Collection] = [:]
  for (kind, resources) in visible { seen[type(kind)] = Collection(resources) }
  for kind in Set(visible.keys).union(hidden.keys) {
    all[type(kind)] = Collection((visible[kind] ?? []) + (hidden[kind] ?? []))
  }
  return View(
    number: number, collections: seen,
    snapshot: Snapshot(
      collections: all, pending: [], isComplete: true, position: position(sequence: number)))
}

/// Seconds after the start of a test.
func at(_ seconds: Double) -> Instant {
  Instant(nanoseconds: 1_000_000_000_000) + .milliseconds(Int64(seconds * 1000))
}

/// A response decoded as a client would, with the names and bodies of its resources.
struct ReadResponse {
  let response: ReceivedResponse
  let contents: [(name: String, body: String, version: String)]

  init(_ bytes: [UInt8], _ dialect: ADSDialect) throws {
    let received = try ReceivedResponse(bytes, dialect: dialect)
    response = received
    contents = try received.elements.map { element in
      let payload: EncodedAny
      var version = ""
      switch dialect {
      case .stateOfTheWorld: payload = try EncodedAny(element)
      case .delta:
        let wrapper = try DeltaElement(element)
        payload = wrapper.payload ?? EncodedAny(typeURL: "", value: [])
        version = wrapper.version
      }
      guard let url = TypeURL(parsing: received.typeURL) else { return ("?", "?", version) }
      let read = try Admission.admit(
        type: url.type, payload: payload, wrapperName: nil, source: "test", seen: Timestamp(seconds: 0),
        limits: Limits())
      return (read.wireName, String(decoding: read.body, as: UTF8.self), version)
    }
  }

  var cause: String? {
    response.identifier.flatMap { ControlPlane(json: $0) }?.removals?.rawValue
  }
}
