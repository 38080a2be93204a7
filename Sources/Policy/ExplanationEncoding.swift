// The answer of `explain` as JSON, for whoever asks: a running relay, or files alone.
// Contract: `{visible, cluster, effect, rule: {file, line}, reason}`.

internal import Documents
internal import Primitives
public import SPIFFE
public import Snapshots

extension PolicyRules {
  /// Why `id` sees an object or not. `resource` is nil when nothing of that name is there; then `absence` says why,
  /// in a sentence without a full stop.
  public func explanation(
    of resource: Resource?, type: TypeName, name: String, as id: SPIFFEID, absence: String? = nil
  ) -> [UInt8] {
    var writer = JSONWriter()
    let verdict = resource.map { explain(ResourceFacts($0), as: id) }
    writer.object { object in
      object.field("visible", verdict?.visible ?? false)
      object.field("cluster", verdict?.cluster ?? clusterName(of: id))
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
      object.field("reason", verdict?.reason ?? absence ?? "\(type) \(name) is not in the snapshot")
    }
    return writer.bytes
  }

  private func clusterName(of id: SPIFFEID) -> String? {
    if case .cluster(_, let name) = cluster(for: id) { name } else { nil }
  }
}
