// What the tests of this room build their objects from.

import Primitives
import Testing

@testable import Snapshots

let virtualService = TypeName(group: "networking.istio.io", kind: "VirtualService")
let gateway = TypeName(group: "networking.istio.io", kind: "Gateway")
let meshConfig = TypeName(group: "core", kind: "MeshConfig")

func draft(
  _ name: String, namespace: String = "prod", body: String = "body", source: String = "central"
) -> ResourceDraft {
  ResourceDraft(
    namespace: namespace, name: name, createTime: Timestamp(seconds: 1_700_000_000),
    bodyMessage: "istio.networking.v1alpha3.VirtualService", body: Array(body.utf8), source: source)
}

func resource(
  _ name: String, namespace: String = "prod", body: String = "body", source: String = "central"
) -> Resource {
  do {
    return try Admission.admit(
      type: virtualService, draft: draft(name, namespace: namespace, body: body, source: source),
      limits: Limits())
  } catch {
    preconditionFailure("a fixture breaks a rule of admission: \(error)")
  }
}

extension SeededGenerator {
  /// A random edit of a small world: names come from 0 ..< `names`, bodies from 0 ..< 4.
  mutating func edits(names: Int, count: Int) -> (upserts: [Resource], removals: [String]) {
    var upserts: [Resource] = []
    var removals: [String] = []
    for _ in 0..<count {
      let name = "r\(Int.random(in: 0..<names, using: &self))"
      if Bool.random(using: &self) {
        upserts.append(resource(name, body: "b\(Int.random(in: 0..<4, using: &self))"))
      } else {
        removals.append("prod/" + name)
      }
    }
    return (upserts, removals)
  }
}
