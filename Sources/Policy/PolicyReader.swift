// Reads policy documents, checks each alone and all together, and then judges their own tests.
//
//   text ─► tree ─► clusters, blocked, expectations ─► names, overlaps ─► rules ─► expectations ─► rules
//
// All problems of all files are collected; any error means no rules. Source: DESIGN.md §6.

public import Documents
import SPIFFE

struct PolicyReader {
  let problems = ProblemList()
  private var clusters: [(draft: ClusterDraft, identities: [Located<SPIFFEPattern>])] = []
  private var blocked: [SPIFFEPattern] = []
  private var expectations: [Expectation] = []

  /// Words of the file that later versions will know. To lift one, take it out and read it.
  private static let notBuilt = ["roles", "shadow", "redact", "redaction"]

  mutating func read(_ text: [UInt8], file: String) {
    let (root, found) = YAML.parseSingle(yaml: text, file: file)
    problems.append(found)
    guard let root else { return }
    let parts = MappingReader.read(root, problems: problems) { reader in
      PolicyReader.refuseUnbuilt(reader)
      return (
        clusters: reader.mappings("clusters", PolicyReader.cluster) ?? [],
        blocked: PolicyReader.identities("blocked", of: reader) ?? [],
        expectations: reader.mappings("tests", Expectation.read) ?? []
      )
    }
    guard let parts else { return }
    clusters += parts.clusters
    blocked += parts.blocked.map(\.value)
    expectations += parts.expectations
  }

  func finish() -> (rules: PolicyRules?, problems: [Problem]) {
    checkNames()
    checkOverlaps()
    guard !problems.hasErrors else { return (nil, problems.problems) }
    let rules = PolicyRules(
      clusters: clusters.map(\.draft), blocked: blocked,
      expectationCount: expectations.reduce(0) { $0 + $1.count })
    for expectation in expectations { problems.append(expectation.failures(under: rules)) }
    return (problems.hasErrors ? nil : rules, problems.problems)
  }

  // MARK: Checks across files

  private func checkNames() {
    var places: [String: SourcePosition] = [:]
    for (draft, _) in clusters {
      if let first = places[draft.name] {
        problems.report(
          draft.position, "the cluster \(Problem.quote(draft.name)) is defined twice",
          why: "it stands at \(first) already", howToFix: "give one of them another name")
      } else {
        places[draft.name] = draft.position
      }
    }
  }

  private func checkOverlaps() {
    var table = IdentityTable()
    for (index, cluster) in clusters.enumerated() {
      for pattern in cluster.identities {
        guard let other = table.insert(pattern.value, owner: index) else { continue }
        reportOverlap(pattern, of: index, with: pattern.value.description, of: other)
      }
    }
    for (index, cluster) in clusters.enumerated() {
      for pattern in cluster.identities {
        guard let wider = table.widerOwner(than: pattern.value, otherThan: index) else { continue }
        reportOverlap(pattern, of: index, with: wider.pattern, of: wider.owner)
      }
    }
  }

  private func reportOverlap(
    _ pattern: Located<SPIFFEPattern>, of index: Int, with other: String, of owner: Int
  ) {
    let name = Problem.quote(clusters[index].draft.name)
    let otherName = Problem.quote(clusters[owner].draft.name)
    problems.report(
      pattern.position, "the identity \(pattern.value) of \(name) overlaps \(other) of \(otherName)",
      why: "an identity belongs to one cluster", howToFix: "remove or narrow one of them")
  }

  // MARK: Parts of a file

  private static func cluster(
    _ reader: MappingReader
  ) -> (draft: ClusterDraft, identities: [Located<SPIFFEPattern>])? {
    refuseUnbuilt(reader)
    let name = reader.string("name", required: true)
    let identities = identities("identities", of: reader, required: true)
    let allow = reader.mappings("allow") { rule($0, isAllow: true) } ?? []
    let deny = reader.mappings("deny") { rule($0, isAllow: false) } ?? []
    guard let name, let identities else { return nil }
    let draft = ClusterDraft(
      name: name.value, position: name.position, identities: identities.map(\.value), allow: allow, deny: deny
    )
    return (draft, identities)
  }

  private static func identities(
    _ key: String, of reader: MappingReader, required: Bool = false
  ) -> [Located<SPIFFEPattern>]? {
    reader.strings(key, required: required)?.compactMap { text in
      do throws(SPIFFEError) {
        return Located(try SPIFFEPattern(parsing: text.value), at: text.position)
      } catch {
        reader.problems.report(
          text.position, "\(Problem.quote(text.value)) is no SPIFFE ID or pattern", why: error.what,
          howToFix: error.howToFix)
        return nil
      }
    }
  }

  private static func rule(_ reader: MappingReader, isAllow: Bool) -> Rule? {
    refuseUnbuilt(reader)
    let errorsBefore = reader.problems.problems.count { $0.severity == .error }
    let labels = labels(of: reader)
    let namespaces = globs("namespaces", of: reader, emptyText: true)
    if isAllow, reader.entry("labels") != nil, reader.entry("namespaces") == nil {
      reader.problems.report(
        reader.position, "a rule that allows by labels must also say namespaces",
        why: "labels are the tenants' own words", howToFix: "add namespaces")
    }
    let rule = Rule(
      position: reader.position, namespaces: namespaces, types: types(of: reader),
      names: globs("names", of: reader, emptyText: false), labels: labels,
      sources: reader.strings("sources").map { Set($0.map(\.value)).sorted() })
    // A key that could not be read must not turn into "any".
    return reader.problems.problems.count { $0.severity == .error } == errorsBefore ? rule : nil
  }

  private static func labels(of reader: MappingReader) -> LabelSelector? {
    guard let text = reader.string("labels") else { return nil }
    do throws(LabelSelectorFault) {
      return try LabelSelector(parsing: text.value)
    } catch {
      reader.problems.report(
        text.position,
        "the label selector \(Problem.quote(text.value)) is wrong at character \(error.offset + 1)",
        why: error.what, howToFix: "write it like \"tier in (edge,all),!draft\"")
      return nil
    }
  }

  private static func types(of reader: MappingReader) -> GlobList? {
    guard let texts = reader.strings("types") else { return nil }
    let patterns = texts.compactMap { TypePattern.read($0, problems: reader.problems) }
    return patterns.isEmpty ? nil : GlobList(patterns.map(\.glob))
  }

  private static func globs(_ key: String, of reader: MappingReader, emptyText: Bool) -> GlobList? {
    guard let texts = reader.strings(key, emptyText: emptyText) else { return nil }
    for text in texts {
      if text.value.contains("/") {
        reader.problems.report(
          text.position, "\(Problem.quote(text.value)) in \(key) has a slash", why: "no object has one there",
          howToFix: "write namespaces and names apart")
      } else if !text.value.utf8.allSatisfy(isNameByte) {
        reader.problems.report(
          text.position, "\(Problem.quote(text.value)) in \(key) matches nothing",
          why: "names have only a-z, 0-9, - and . in them", howToFix: "only * is special in a pattern",
          severity: .warning)
      }
    }
    return texts.isEmpty ? nil : GlobList(texts.map { GlobPattern($0.value) })
  }

  private static func isNameByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"),
      UInt8(ascii: "."), UInt8(ascii: "*"):
      true
    default: false
    }
  }

  private static func refuseUnbuilt(_ reader: MappingReader) {
    for word in notBuilt { reader.refuse(word) }
  }
}

extension TypePattern {
  /// Reads a pattern for a file's `types`. A kind nobody knows is a warning: it may come all the same.
  public static func read(_ text: Located<String>, problems: ProblemList) -> TypePattern? {
    do throws(TypePatternFault) {
      let pattern = try TypePattern(parsing: text.value)
      if let unknown = pattern.unknownKind {
        problems.report(
          text.position, "\(Problem.quote(unknown)) is no kind that is known here",
          howToFix: pattern.nearestKnown.map { "did you mean \"\($0)\"?" } ?? "", severity: .warning)
      }
      return pattern
    } catch {
      problems.report(text.position, error.what, howToFix: error.howToFix)
      return nil
    }
  }
}
