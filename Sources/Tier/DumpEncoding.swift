// `dump` and `explain` as JSON. Contract: the field names.

import Documents
import Manifests
import Policy
import Primitives
import SPIFFE
import Snapshots

enum DumpEncoding {
  /// `{type, namespace, name, version, createTime, labels, annotations, spec}`. `spec` is null for kinds
  /// we have no descriptor of: their bytes mean nothing to us.
  static func write(_ resource: Resource, to writer: inout JSONWriter) {
    writer.object { object in
      object.field("type", resource.type.description)
      object.field("namespace", resource.namespace)
      object.field("name", resource.name)
      object.field("version", resource.version.description)
      object.field("createTime", resource.createTime.rfc3339)
      object.field("labels", object: { write(resource.labels, to: &$0) })
      object.field("annotations", object: { write(resource.annotations, to: &$0) })
      object.key("spec")
      if let spec = Schema.istio.json(resource.body, message: resource.bodyMessage) {
        object.raw(spec)
      } else {
        object.null()
      }
    }
  }

  private static func write(_ pairs: [(key: String, value: String)], to writer: inout JSONWriter) {
    for pair in pairs { writer.field(pair.key, pair.value) }
  }
}

enum Explaining {
  /// `{visible, cluster, effect, rule: {file, line}, reason}`.
  static func answer(
    id: SPIFFEID, type: TypeName, name: String, resource: Resource?, rules: PolicyRules
  ) -> [UInt8] {
    var writer = JSONWriter()
    let verdict = resource.map { rules.explain(ResourceFacts($0), as: id) }
    writer.object { object in
      object.field("visible", verdict?.visible ?? false)
      object.field("cluster", verdict?.cluster ?? cluster(of: id, rules))
      object.field("effect", verdict?.effect.rawValue ?? "none")
      object.key("rule")
      if let rule = verdict?.rule {
        object.object { place in
          place.field("file", rule.file)
          place.field("line", rule.line)
        }
      } else {
        object.null()
      }
      object.field("reason", verdict?.reason ?? "\(type) \(name) is not in the snapshot")
    }
    return writer.bytes
  }

  private static func cluster(of id: SPIFFEID, _ rules: PolicyRules) -> String? {
    if case .cluster(_, let name) = rules.cluster(for: id) { name } else { nil }
  }
}
