// Clusters and roles as a policy file writes them, and how the two become clusters: a role says once what many
// clusters have in common, `{cluster}` in it stands for the name of each.
//
// Roles may stand in another file than the clusters that use them, so they meet when all files are read.

import Documents
import SPIFFE

/// Patterns of identities in which `{cluster}` may stand.
struct IdentityTemplates {
  let texts: [Located<String>]

  static func read(_ reader: MappingReader) -> IdentityTemplates? {
    guard let texts = reader.strings("identities") else { return nil }
    // What is wrong whatever the cluster is told here, once.
    return IdentityTemplates(
      texts: texts.filter { pattern($0, ClusterWord.example, reader.problems) != nil })
  }

  static func pattern(
    _ text: Located<String>, _ cluster: String, _ problems: ProblemList
  ) -> Located<SPIFFEPattern>? {
    do throws(SPIFFEError) {
      let filled = ClusterWord.fill(text.value, cluster)
      return Located(try SPIFFEPattern(parsing: filled), at: text.position)
    } catch {
      problems.report(
        text.position, "\(Problem.quote(text.value)) is no SPIFFE ID or pattern", why: error.what,
        howToFix: error.howToFix)
      return nil
    }
  }
}

/// One item of `roles`.
struct RoleEntry {
  let name: Located<String>
  let content: Content

  /// What roles and clusters both have.
  struct Content {
    let identities: IdentityTemplates?
    let allow: [RuleTemplate]
    let deny: [RuleTemplate]
    let redact: RedactionKeys

    static func read(_ reader: MappingReader) -> Content {
      Content(
        identities: IdentityTemplates.read(reader),
        allow: reader.mappings("allow") { RuleTemplate.read($0, isAllow: true) } ?? [],
        deny: reader.mappings("deny") { RuleTemplate.read($0, isAllow: false) } ?? [],
        redact: RedactionKeys.read(reader))
    }

    var usesCluster: Bool {
      (allow + deny).contains(where: \.usesCluster)
        || identities?.texts.contains { ClusterWord.occurs(in: $0.value) } == true
    }
  }

  static func read(_ reader: MappingReader) -> RoleEntry? {
    let name = reader.string("name", required: true)
    let content = Content.read(reader)
    return name.map { RoleEntry(name: $0, content: content) }
  }
}

/// One item of `clusters`.
struct ClusterEntry {
  let name: Located<String>
  let position: SourcePosition
  /// Names of its roles.
  let use: [Located<String>]
  /// It names identities or roles itself, well or badly: what is missing was told.
  private let saysIdentities: Bool
  private let own: RoleEntry.Content

  static func read(_ reader: MappingReader) -> ClusterEntry? {
    let name = reader.string("name", required: true)
    let use = reader.strings("use") ?? []
    let own = RoleEntry.Content.read(reader)
    if reader.entry("identities") == nil, reader.entry("use") == nil {
      reader.problems.report(
        reader.position, "the key \"identities\" is missing in clusters", why: "nobody would be this cluster",
        howToFix: "add identities, or use a role that has them")
      return nil
    }
    return name.map {
      ClusterEntry(
        name: $0, position: reader.position, use: use,
        saysIdentities: reader.entry("identities") != nil || use.isEmpty, own: own)
    }
  }

  /// The cluster with what its roles say; nil after a problem.
  func resolved(
    with roles: [String: RoleEntry], _ problems: ProblemList
  ) -> (draft: ClusterDraft, identities: [Located<SPIFFEPattern>])? {
    var parts = [own]
    for word in use {
      guard let role = roles[word.value] else {
        problems.report(
          word.position, "there is no role \(Problem.quote(word.value))",
          howToFix: Suggestion.nearest(to: word.value, among: roles.keys.sorted())
            .map { "did you mean \"\($0)\"?" } ?? "define it under roles")
        return nil
      }
      parts.append(role.content)
    }
    guard !parts.contains(where: \.usesCluster) || ClusterWord.isPlain(name.value) else {
      problems.report(
        name.position, "\(Problem.quote(name.value)) cannot stand for \(ClusterWord.text)",
        why: "in a pattern it would mean more than itself",
        howToFix: "use only a-z, 0-9 and - in the name, at most 63 of them")
      return nil
    }
    let identities = parts.flatMap { $0.identities?.texts ?? [] }
      .compactMap { IdentityTemplates.pattern($0, name.value, problems) }
    guard !identities.isEmpty else {
      if saysIdentities { return nil }
      problems.report(
        position, "the cluster \(Problem.quote(name.value)) has no identities", why: "nobody would be it",
        howToFix: "add identities to it or to one of its roles")
      return nil
    }
    guard let allow = rules(parts.flatMap(\.allow), problems),
      let deny = rules(parts.flatMap(\.deny), problems)
    else { return nil }
    let draft = ClusterDraft(
      name: name.value, position: name.position, identities: identities.map(\.value), allow: allow,
      deny: deny,
      redaction: RedactionKeys.together(parts.map(\.redact)))
    return (draft, identities)
  }

  private func rules(_ templates: [RuleTemplate], _ problems: ProblemList) -> [Rule]? {
    var rules: [Rule] = []
    for template in templates {
      do throws(LabelSelectorFault) {
        rules.append(try template.rule(for: name.value))
      } catch {
        problems.report(
          name.position,
          "the labels of the rule at \(template.position) cannot name \(Problem.quote(name.value))",
          why: error.what, howToFix: "shorten the name")
        return nil
      }
    }
    return rules
  }
}
