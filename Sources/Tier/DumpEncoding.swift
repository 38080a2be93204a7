// `dump` as JSON. Contract: the field names.

import Documents
import Manifests
import Primitives
import Snapshots

enum DumpEncoding {
  /// Everything of a view, or of one type, sorted by type and name.
  static func json(of view: View, _ type: TypeName?) -> [UInt8] {
    var writer = JSONWriter()
    writer.array { array in
      for (name, collection) in view.collections.sorted(by: { $0.key < $1.key })
      where type == nil || name == type {
        for resource in collection.resources { write(resource, to: &array) }
      }
    }
    return writer.bytes
  }

  /// `{type, namespace, name, version, createTime, labels, annotations, spec}`. `spec` is null for kinds
  /// we have no descriptor of: their bytes mean nothing to us.
  private static func write(_ resource: Resource, to writer: inout JSONWriter) {
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
