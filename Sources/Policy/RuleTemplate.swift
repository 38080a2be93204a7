// A rule as its file writes it, in which `{cluster}` stands for the name of the cluster it will belong to.
//
// Everything that can be judged without that name is judged when the file is read, so a role that no cluster
// uses yet is checked like any other. Source: DESIGN.md §6 and docs/policy.md, "Roles".

import Documents

/// The word that stands for a cluster's name.
enum ClusterWord {
  static let text = "{cluster}"
  /// What it stands for while no cluster is known.
  static let example = "c"

  static func occurs(in text: String) -> Bool { text.contains(ClusterWord.text) }

  static func fill(_ text: String, _ cluster: String) -> String {
    text.replacing(ClusterWord.text, with: cluster)
  }

  /// A name that means nothing but itself wherever the word may stand: in names, patterns and identities.
  static func isPlain(_ cluster: String) -> Bool {
    !cluster.isEmpty && cluster.utf8.count <= 63
      && cluster.utf8.allSatisfy { byte in
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"):
          true
        default: false
        }
      }
  }
}

/// A rule for whichever cluster.
struct RuleTemplate {
  let position: SourcePosition
  private let namespaces: [String]?
  private let types: GlobList?
  private let names: [String]?
  private let labels: String?
  private let sources: [String]?

  /// Reads one item of `allow` or `deny`; nil after a problem, so that a key that could not be read never
  /// turns into "any".
  static func read(_ reader: MappingReader, isAllow: Bool) -> RuleTemplate? {
    let errorsBefore = reader.problems.problems.count { $0.severity == .error }
    let labels = labels(of: reader)
    if isAllow, reader.entry("labels") != nil, reader.entry("namespaces") == nil {
      reader.problems.report(
        reader.position, "a rule that allows by labels must also say namespaces",
        why: "labels are the tenants' own words", howToFix: "add namespaces")
    }
    let template = RuleTemplate(
      position: reader.position, namespaces: globs("namespaces", of: reader, emptyText: true),
      types: types(of: reader), names: globs("names", of: reader, emptyText: false),
      labels: labels, sources: reader.strings("sources")?.map(\.value))
    return reader.problems.problems.count { $0.severity == .error } == errorsBefore ? template : nil
  }

  var usesCluster: Bool {
    let texts = (namespaces ?? []) + (names ?? []) + (sources ?? []) + [labels ?? ""]
    return texts.contains(where: ClusterWord.occurs)
  }

  /// The rule of one cluster. Throws when a label's value becomes too long by its name.
  func rule(for cluster: String) throws(LabelSelectorFault) -> Rule {
    func filled(_ texts: [String]?) -> [String]? { texts?.map { ClusterWord.fill($0, cluster) } }
    func globs(_ texts: [String]?) -> GlobList? { filled(texts).map { GlobList($0.map { GlobPattern($0) }) } }
    var selector: LabelSelector?
    if let labels { selector = try LabelSelector(parsing: ClusterWord.fill(labels, cluster)) }
    return Rule(
      position: position, namespaces: globs(namespaces), types: types, names: globs(names), labels: selector,
      sources: filled(sources).map { Set($0).sorted() })
  }

  // MARK: Keys

  private static func labels(of reader: MappingReader) -> String? {
    guard let text = reader.string("labels") else { return nil }
    do throws(LabelSelectorFault) {
      _ = try LabelSelector(parsing: ClusterWord.fill(text.value, ClusterWord.example))
    } catch {
      reader.problems.report(
        text.position,
        "the label selector \(Problem.quote(text.value)) is wrong at character \(error.offset + 1)",
        why: error.what, howToFix: "write it like \"tier in (edge,all),!draft\"")
    }
    return text.value
  }

  private static func types(of reader: MappingReader) -> GlobList? {
    guard let texts = reader.strings("types") else { return nil }
    let patterns = texts.compactMap { TypePattern.read($0, problems: reader.problems) }
    return patterns.isEmpty ? nil : GlobList(patterns.map(\.glob))
  }

  private static func globs(_ key: String, of reader: MappingReader, emptyText: Bool) -> [String]? {
    guard let texts = reader.strings(key, emptyText: emptyText) else { return nil }
    for text in texts {
      if text.value.contains("/") {
        reader.problems.report(
          text.position, "\(Problem.quote(text.value)) in \(key) has a slash", why: "no object has one there",
          howToFix: "write namespaces and names apart")
      } else if matchesNothing(ClusterWord.fill(text.value, ClusterWord.example)) {
        reader.problems.report(
          text.position, "\(Problem.quote(text.value)) in \(key) matches nothing",
          why: "names have only a-z, 0-9, - and . in them",
          howToFix: "only * and \(ClusterWord.text) are special in a pattern", severity: .warning)
      }
    }
    return texts.isEmpty ? nil : texts.map(\.value)
  }

  /// No object has such a name, and no namespace is called so.
  static func matchesNothing(_ text: String) -> Bool { !text.utf8.allSatisfy(isNameByte) }

  private static func isNameByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"),
      UInt8(ascii: "."), UInt8(ascii: "*"):
      true
    default: false
    }
  }
}
