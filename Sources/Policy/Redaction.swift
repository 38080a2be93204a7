// Labels and annotations that a cluster is not shown. Which objects it sees is judged by what the source wrote; what it
// is served of them lacks these keys (docs/decisions/023-redaction.md).

internal import Documents
public import Snapshots

/// Patterns of keys to take away. At least one.
public struct Redaction: Hashable, Sendable {
  let labels: GlobList?
  let annotations: GlobList?

  /// Nil when it takes nothing away.
  init?(labels: [GlobPattern], annotations: [GlobPattern]) {
    guard !labels.isEmpty || !annotations.isEmpty else { return nil }
    self.labels = labels.isEmpty ? nil : GlobList(labels)
    self.annotations = annotations.isEmpty ? nil : GlobList(annotations)
  }

  public func hides(label key: String) -> Bool { labels?.matches(key) ?? false }
  public func hides(annotation key: String) -> Bool { annotations?.matches(key) ?? false }

  /// What is served instead of `resource`; itself when it has nothing to hide. `canonicalize` must be that of admission.
  public func form(of resource: Resource, _ canonicalize: BodyCanonicalizer?) -> Resource {
    resource.without(
      labels: { hides(label: $0) }, annotations: { hides(annotation: $0) }, canonicalize: canonicalize)
  }

  /// What `form` takes away, in words: `label owner`.
  public func hidden(of resource: Resource) -> [String] {
    resource.labels.filter { hides(label: $0.key) }.map { "label \($0.key)" }
      + resource.annotations.filter { hides(annotation: $0.key) }.map { "annotation \($0.key)" }
  }

  /// Equal for two redactions exactly when they say the same.
  var canonicalText: String {
    func list(_ globs: GlobList?) -> String {
      (globs?.patterns ?? []).map { "\($0.text.utf8.count):\($0.text)" }.joined(separator: ",")
    }
    return "[\(list(labels))] [\(list(annotations))]"
  }
}

/// `redact` of a cluster or role, as its file writes it.
struct RedactionKeys {
  var labels: [GlobPattern] = []
  var annotations: [GlobPattern] = []

  static func read(_ reader: MappingReader) -> RedactionKeys {
    reader.mapping("redact") { reader in
      let keys = RedactionKeys(
        labels: patterns("labels", of: reader), annotations: patterns("annotations", of: reader))
      if reader.entry("labels") == nil, reader.entry("annotations") == nil {
        reader.problems.report(
          reader.position, "this redact takes nothing away", howToFix: "add labels or annotations")
      }
      return keys
    } ?? RedactionKeys()
  }

  private static func patterns(_ key: String, of reader: MappingReader) -> [GlobPattern] {
    (reader.strings(key) ?? []).map { text in
      if !text.value.utf8.allSatisfy(isKeyByte)
        || text.value.utf8.count(where: { $0 == UInt8(ascii: "/") }) > 1
      {
        reader.problems.report(
          text.position, "\(Problem.quote(text.value)) in \(reader.name(key)) matches nothing",
          why: "keys are like example.org/name, of a-z, A-Z, 0-9, -, _ and . with at most one slash",
          howToFix: "only * is special in it, and it stands for anything but a slash")
      }
      return GlobPattern(text.value)
    }
  }

  private static func isKeyByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
      UInt8(ascii: "/"), UInt8(ascii: "*"):
      true
    default: false
    }
  }

  /// All of them together; nil when nothing is taken away.
  static func together(_ parts: [RedactionKeys]) -> Redaction? {
    Redaction(labels: parts.flatMap(\.labels), annotations: parts.flatMap(\.annotations))
  }
}
