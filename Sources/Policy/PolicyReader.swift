// Reads policy documents, checks each alone and all together, and then judges their own tests.
//
//   text ─► tree ─► roles, clusters, blocked, expectations ─► clusters with their roles ─► names, overlaps
//        ─► rules ─► expectations ─► rules
//
// All problems of all files are collected; any error means no rules. Source: DESIGN.md §6.

public import Documents
import SPIFFE

struct PolicyReader {
  let problems = ProblemList()
  private var roles: [RoleEntry] = []
  private var entries: [ClusterEntry] = []
  private var blocked: [Located<SPIFFEPattern>] = []
  private var expectations: [Expectation] = []
  private var files: [String] = []

  /// A cluster with its place among the others, before it is checked against them.
  private typealias Cluster = (draft: ClusterDraft, identities: [Located<SPIFFEPattern>])

  mutating func read(_ text: [UInt8], file: String) {
    files.append(file)
    let (root, found) = YAML.parseSingle(yaml: text, file: file)
    problems.append(found)
    guard let root else { return }
    let parts = MappingReader.read(root, problems: problems) { reader in
      (
        roles: reader.mappings("roles", RoleEntry.read) ?? [],
        clusters: reader.mappings("clusters", ClusterEntry.read) ?? [],
        blocked: reader.strings("blocked") ?? [],
        expectations: reader.mappings("tests", Expectation.read) ?? []
      )
    }
    guard let parts else { return }
    roles += parts.roles
    entries += parts.clusters
    blocked += parts.blocked.compactMap { text in
      PolicyReader.blocked(text, problems)
    }
    expectations += parts.expectations
  }

  func finish() -> (rules: PolicyRules?, problems: [Problem]) {
    let roles = rolesByName()
    let clusters = entries.compactMap { $0.resolved(with: roles, problems) }
    checkNames()
    checkOverlaps(clusters)
    guard !problems.hasErrors else { return (nil, problems.problems) }
    let rules = PolicyRules(
      clusters: clusters.map(\.draft), blocked: blocked,
      expectationCount: expectations.reduce(0) { $0 + $1.count }, files: files)
    for expectation in expectations { problems.append(expectation.failures(under: rules)) }
    return (problems.hasErrors ? nil : rules, problems.problems)
  }

  // MARK: Checks across files

  private func rolesByName() -> [String: RoleEntry] {
    var known: [String: RoleEntry] = [:]
    for role in roles {
      if let first = known[role.name.value] {
        problems.report(
          role.name.position, "the role \(Problem.quote(role.name.value)) is defined twice",
          why: "it stands at \(first.name.position) already", howToFix: "give one of them another name")
      } else {
        known[role.name.value] = role
      }
    }
    let used = Set(entries.flatMap(\.use).map(\.value))
    for role in roles where !used.contains(role.name.value) {
      problems.report(
        role.name.position, "no cluster uses the role \(Problem.quote(role.name.value))", severity: .warning)
    }
    return known
  }

  private static func blocked(_ text: Located<String>, _ problems: ProblemList) -> Located<SPIFFEPattern>? {
    guard !ClusterWord.occurs(in: text.value) else {
      problems.report(
        text.position, "\(ClusterWord.text) means nothing in blocked", howToFix: "write the identity out")
      return nil
    }
    return IdentityTemplates.pattern(text, "", problems)
  }

  /// Of all clusters, also those that have other problems.
  private func checkNames() {
    var places: [String: SourcePosition] = [:]
    for name in entries.map(\.name) {
      if let first = places[name.value] {
        problems.report(
          name.position, "the cluster \(Problem.quote(name.value)) is defined twice",
          why: "it stands at \(first) already", howToFix: "give one of them another name")
      } else {
        places[name.value] = name.position
      }
    }
  }

  private func checkOverlaps(_ clusters: [Cluster]) {
    var table = IdentityTable()
    for (index, cluster) in clusters.enumerated() {
      for pattern in cluster.identities {
        guard let other = table.insert(pattern.value, owner: index) else { continue }
        reportOverlap(pattern, of: clusters[index], with: pattern.value.description, of: clusters[other])
      }
    }
    for (index, cluster) in clusters.enumerated() {
      for pattern in cluster.identities {
        guard let wider = table.widerOwner(than: pattern.value, otherThan: index) else { continue }
        reportOverlap(pattern, of: clusters[index], with: wider.pattern, of: clusters[wider.owner])
      }
    }
  }

  private func reportOverlap(
    _ pattern: Located<SPIFFEPattern>, of cluster: Cluster, with other: String, of owner: Cluster
  ) {
    // A name that stands twice was told, and mostly it is one cluster that does.
    guard cluster.draft.name != owner.draft.name else { return }
    let name = Problem.quote(cluster.draft.name)
    let otherName = Problem.quote(owner.draft.name)
    problems.report(
      pattern.position, "the identity \(pattern.value) of \(name) overlaps \(other) of \(otherName)",
      why: "an identity belongs to one cluster", howToFix: "remove or narrow one of them")
  }
}

extension TypePattern {
  /// Reads a pattern for a file's `types`. A kind nobody knows is a warning.
  public static func read(_ text: Located<String>, problems: ProblemList) -> TypePattern? {
    do throws(TypePatternFault) {
      let pattern = try TypePattern(parsing: text.value)
      pattern.warnIfUnknown(at: text.position, problems)
      return pattern
    } catch {
      problems.report(text.position, error.what, howToFix: error.howToFix)
      return nil
    }
  }
}
