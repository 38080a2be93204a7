// One Kubernetes object to one `ManifestObject`: its kind and names, what of its metadata travels, its
// spec by descriptor. What Kubernetes adds for itself (status, generation, managedFields, …) is dropped
// knowingly; what nobody knows is a problem, because it is a slip of the pen.
// Source: Kubernetes ObjectMeta; MCP Metadata, which has room for name, time, labels and annotations only.

import Documents
import Primitives
import Snapshots

struct ObjectReader {
  private let value: ManifestValue
  private let options: ManifestOptions
  private var encoder: SpecEncoder

  init(_ value: ManifestValue, options: ManifestOptions) {
    self.value = value
    self.options = options
    encoder = SpecEncoder(schema: options.schema)
  }

  var problems: [Problem] { encoder.problems }

  /// Known as soon as kind and names are readable, also of objects with problems elsewhere: what was
  /// good before is kept under this name.
  var identity: ObjectIdentity? {
    guard let (type, _) = statedType, let kind = Kinds[type] else { return nil }
    if kind.isBare { return ObjectIdentity(type: type, namespace: "", name: Kind.bareName) }
    guard let names else { return nil }
    return ObjectIdentity(
      type: type, namespace: kind.isClusterScoped ? "" : names.namespace, name: names.name)
  }

  private var names: ObjectNames? {
    text("name").map { ObjectNames(namespace: text("namespace") ?? options.defaultNamespace, name: $0) }
  }

  func rejected(for problems: [Problem]) -> RejectedManifest {
    RejectedManifest(identity: identity, names: names, label: label, problems: problems)
  }

  /// For people: as much as is known.
  var label: String {
    if let identity { return identity.description }
    let kind = statedType.map { $0.type.description } ?? ""
    let names = [text("namespace"), text("name")].compactMap { $0 }.joined(separator: "/")
    return excerpt([kind, names].filter { !$0.isEmpty }.joined(separator: " "))
  }

  /// Nil when there are problems.
  mutating func read() -> ManifestObject? {
    guard value.entries != nil else {
      encoder.wrongKind(
        value, expected: "an object with apiVersion, kind, metadata and spec", in: "the document")
      return nil
    }
    checkKeys(value, known: Self.topLevelKeys, dropped: ["status"], in: "the object")
    guard let kind = readKind() else { return nil }
    let metadata = readMetadata(kind)
    let spec = value["spec"].flatMap { $0.isNull ? nil : $0 }
    let body = spec.map { encoder.encode(spec: $0, message: kind.bodyMessage) ?? [] } ?? []
    guard encoder.problems.isEmpty, let identity, let metadata else { return nil }
    return ManifestObject(
      identity: identity, position: value.position, createTime: metadata.createTime, labels: metadata.labels,
      annotations: metadata.annotations, bodyMessage: kind.bodyMessage, body: body)
  }

  // MARK: Kind

  private static let topLevelKeys = ["apiVersion", "kind", "metadata", "spec"]

  /// Group, version and kind as written; no judgement.
  private var statedType: (type: TypeName, version: String)? {
    guard case .string(let apiVersion)? = value["apiVersion"]?.content,
      case .string(let kind)? = value["kind"]?.content, !kind.isEmpty
    else { return nil }
    let parts = apiVersion.split(separator: "/", omittingEmptySubsequences: false)
    switch parts.count {
    case 1: return (TypeName(group: "", kind: kind), apiVersion)
    case 2: return (TypeName(group: String(parts[0]), kind: kind), String(parts[1]))
    default: return nil
    }
  }

  private mutating func readKind() -> Kind? {
    for key in ["apiVersion", "kind"] {
      guard let part = value[key] else {
        encoder.report(
          at: value.position, what: "the object has no \(key)", why: "apiVersion and kind say what it is",
          fix: "add for example apiVersion: networking.istio.io/v1 and kind: VirtualService")
        return nil
      }
      guard encoder.string(part, in: key) != nil else { return nil }
    }
    let place = value["kind"]?.position ?? value.position
    guard let (type, version) = statedType else {
      encoder.report(
        at: value["apiVersion"]?.position ?? place,
        what: "apiVersion and kind are not group/version and a name",
        fix: "write for example networking.istio.io/v1 and VirtualService")
      return nil
    }
    guard let kind = Kinds[type] else {
      unknownKind(type, version, at: place)
      return nil
    }
    guard kind.versions.contains(version) else {
      encoder.report(
        at: value["apiVersion"]?.position ?? place, what: "\(type) has no version \"\(excerpt(version))\"",
        fix: "use one of: " + kind.versions.map { type.group + "/" + $0 }.joined(separator: ", "))
      return nil
    }
    guard kind.bodyMessage != "google.protobuf.Struct", options.schema.contains(message: kind.bodyMessage)
    else {
      encoder.report(
        at: place, what: "\(type) cannot be made from a manifest",
        why: "control planes take no encoding of it over MCP, or none is described here",
        fix: "apply it to the clusters directly, and remove it from this source")
      return nil
    }
    return kind
  }

  private mutating func unknownKind(_ type: TypeName, _ version: String, at place: SourcePosition) {
    let encodable = Kinds.all.filter { options.schema.contains(message: $0.bodyMessage) }
    let sameName = encodable.filter { $0.type.kind == type.kind }
    let fix: String
    if let other = sameName.first {
      fix = "write apiVersion: \(other.type.group)/\(other.versions[0]) if that one is meant"
    } else if let near = Suggestion.nearest(to: type.kind, among: encodable.map(\.type.kind)) {
      fix = "write kind: \(near) if that is what is meant"
    } else {
      fix = "keep objects that are no mesh configuration outside this source"
    }
    encoder.report(
      at: place, what: "\(excerpt(type.description)) is no kind of mesh configuration",
      why: "no control plane takes it over MCP", fix: fix)
  }

  // MARK: Metadata

  private struct Metadata {
    var createTime: Timestamp?
    var labels: [(key: String, value: String)] = []
    var annotations: [(key: String, value: String)] = []
  }

  private static let metadataKeys = [
    "name", "namespace", "labels", "annotations", "creationTimestamp",
  ]

  /// What a Kubernetes API server adds and MCP has no room for.
  private static let droppedMetadataKeys = [
    "generation", "uid", "ownerReferences", "finalizers", "managedFields", "resourceVersion", "selfLink",
    "deletionTimestamp", "deletionGracePeriodSeconds", "generateName", "clusterName",
  ]

  /// A whole manifest in itself, written by `kubectl apply`: bytes that no control plane reads.
  private static let droppedAnnotation = "kubectl.kubernetes.io/last-applied-configuration"

  private mutating func readMetadata(_ kind: Kind) -> Metadata? {
    guard let metadata = value["metadata"], !metadata.isNull else {
      if kind.isBare { return Metadata() }
      encoder.report(
        at: value.position, what: "the object has no metadata", why: "its name is there",
        fix: "add metadata: {name: …}")
      return nil
    }
    guard metadata.entries != nil else {
      encoder.wrongKind(metadata, expected: "an object", in: "metadata")
      return nil
    }
    checkKeys(metadata, known: Self.metadataKeys, dropped: Self.droppedMetadataKeys, in: "metadata")
    if !kind.isBare {
      checkName(metadata)
      checkNamespace(metadata, kind)
    }
    var result = Metadata()
    result.labels = pairs(metadata["labels"], in: "metadata.labels")
    result.annotations = pairs(metadata["annotations"], in: "metadata.annotations")
      .filter { $0.key != Self.droppedAnnotation }
    result.createTime = createTime(metadata["creationTimestamp"])
    return result
  }

  private mutating func checkName(_ metadata: ManifestValue) {
    guard let written = metadata["name"], !written.isNull else {
      let generated = metadata["generateName"] != nil
      encoder.report(
        at: metadata["generateName"]?.position ?? metadata.position, what: "the object has no metadata.name",
        why: generated ? "generateName works only where an API server makes the name" : "",
        fix: "add a name of its own")
      return
    }
    guard let name = encoder.string(written, in: "metadata.name"), !NameRules.isSubdomain(name) else {
      return
    }
    encoder.report(
      at: written.position, what: "metadata.name \"\(excerpt(name))\" is not an RFC 1123 subdomain",
      why: "at most 253 of a-z 0-9 - and ., with a letter or digit at both ends of each part",
      fix: "rename the object")
  }

  private mutating func checkNamespace(_ metadata: ManifestValue, _ kind: Kind) {
    guard let written = metadata["namespace"], !written.isNull,
      let namespace = encoder.string(written, in: "metadata.namespace")
    else { return }
    if kind.isClusterScoped {
      encoder.report(
        at: written.position, what: "\(kind.type) has no namespaces", fix: "remove metadata.namespace")
    } else if !NameRules.isLabel(namespace) {
      encoder.report(
        at: written.position, what: "metadata.namespace \"\(excerpt(namespace))\" is not an RFC 1123 label",
        why: "1 to 63 of a-z 0-9 and -, with a letter or digit at both ends", fix: "correct the namespace")
    }
  }

  private mutating func pairs(_ value: ManifestValue?, in place: String) -> [(key: String, value: String)] {
    guard let value, !value.isNull else { return [] }
    guard let entries = value.entries else {
      encoder.wrongKind(value, expected: "an object of names and text", in: place)
      return []
    }
    var result: [(key: String, value: String)] = []
    for entry in entries {
      guard let text = encoder.string(entry.value, in: "\(place) \"\(excerpt(entry.key))\"") else { continue }
      result.append((entry.key, text))
    }
    return result
  }

  private mutating func createTime(_ value: ManifestValue?) -> Timestamp? {
    guard let value, !value.isNull else { return nil }
    if case .string(let text) = value.content, let time = Timestamp(rfc3339: text) { return time }
    encoder.wrongKind(
      value, expected: "a time", in: "metadata.creationTimestamp",
      fix: "write it as RFC 3339 (2026-01-31T12:00:00Z), or leave it out")
    return nil
  }

  private mutating func checkKeys(
    _ value: ManifestValue, known: [String], dropped: [String], in place: String
  ) {
    for entry in value.entries ?? [] where !known.contains(entry.key) && !dropped.contains(entry.key) {
      let fix =
        Suggestion.nearest(to: entry.key, among: known).map { "write \"\($0)\" if that is what is meant" }
        ?? "remove it, or move it to where it belongs"
      encoder.report(
        at: entry.position, what: "\(place) has no key \"\(excerpt(entry.key))\"",
        why: "known here: " + known.joined(separator: ", "), fix: fix)
    }
  }

  private func text(_ key: String) -> String? {
    guard case .string(let text)? = value["metadata"]?[key]?.content else { return nil }
    return text
  }
}
