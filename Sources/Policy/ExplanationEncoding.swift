// The answer of `explain` as JSON, for whoever asks: a running relay, or files alone.
// Contract: `{visible, cluster, effect, rule: {file, line}, reason, redacted[], gate}`.

public import Documents
public import Primitives
public import SPIFFE
public import Snapshots

/// Why an identity sees one object of a snapshot, or does not.
public struct ObjectExplanation: Sendable, Equatable {
  /// A gate that decides what the cluster is served.
  public struct Gate: Sendable, Equatable {
    public let kind: String
    /// Of the snapshot it keeps.
    public let version: String?
    public let since: Timestamp

    public init(kind: String, version: String?, since: Timestamp) {
      self.kind = kind
      self.version = version
      self.since = since
    }
  }

  public var visible: Bool
  /// Nil when the identity is blocked or of no cluster.
  public var cluster: String?
  /// `Explanation.Effect`; `none` for what is not there, unless the identity is served nothing at all.
  public var effect: String
  public var rule: SourcePosition?
  /// A sentence without a full stop.
  public var reason: String
  /// Keys that the cluster is not shown of it: `label owner`, `annotation example.org/cost`.
  public var redacted: [String] = []
  public var gate: Gate?

  public var json: [UInt8] {
    var writer = JSONWriter()
    writer.object { object in
      object.field("visible", visible)
      object.field("cluster", cluster)
      object.field("effect", effect)
      object.key("rule")
      if let rule {
        object.object { place in
          place.field("file", rule.file)
          place.field("line", rule.line)
        }
      } else {
        object.null()
      }
      object.field("reason", reason)
      object.field("redacted", strings: redacted)
      object.key("gate")
      if let gate {
        object.object { entry in
          entry.field("kind", gate.kind)
          entry.field("version", gate.version)
          entry.field("since", gate.since.rfc3339)
        }
      } else {
        object.null()
      }
    }
    return writer.bytes
  }
}

extension PolicyRules {
  /// Why `id` sees an object or not. `resource` is nil when nothing of that name is there; then `absence` says why,
  /// in a sentence without a full stop.
  public func explanation(
    of resource: Resource?, type: TypeName, name: String, as id: SPIFFEID, absence: String? = nil
  ) -> ObjectExplanation {
    let absence = absence ?? "\(type) \(name) is not in the snapshot"
    do throws(IdentityRefusal) {
      let cluster = clusters[try index(of: id)]
      guard let resource else {
        return ObjectExplanation(
          visible: false, cluster: cluster.name, effect: Explanation.Effect.none.rawValue, rule: nil,
          reason: absence)
      }
      let verdict = explain(ResourceFacts(resource), cluster: cluster.index)
      return ObjectExplanation(
        visible: verdict.visible, cluster: cluster.name, effect: verdict.effect.rawValue, rule: verdict.rule,
        reason: verdict.reason,
        redacted: verdict.visible ? cluster.redaction?.hidden(of: resource) ?? [] : [])
    } catch {
      let verdict = Explanation(error)
      return ObjectExplanation(
        visible: false, cluster: nil, effect: verdict.effect.rawValue, rule: verdict.rule,
        reason: resource == nil ? "\(verdict.reason). \(absence)" : verdict.reason)
    }
  }
}
