// What a tier grants one class of clusters, as it tells them and as they read it: its rules without its sources, which
// mean nothing below. What is told is never less than what is granted, so whoever relies on it may hope in vain
// but never gives up in vain. The text is a peer's: what cannot be read is no grant, and then nothing is known.

internal import Documents
internal import Primitives
public import Snapshots

public struct Grant: Sendable {
  let allow: [Rule]
  let deny: [Rule]
  private let allowed: Set<String>

  /// What the clusters of a class are told: JSON, in the words of a policy file.
  public static func text(of policy: PolicyClass) -> String {
    // A denial that holds for some sources only takes nothing away for certain.
    text(allow: policy.allow, deny: policy.deny.filter { $0.sources == nil }, policy.redaction)
  }

  /// `redaction`: what its readers are not shown of an object, and so cannot judge by.
  static func text(allow: [Rule], deny: [Rule], _ redaction: Redaction?) -> String {
    var writer = JSONWriter()
    writer.object { object in
      let parts = [
        ("allow", allow.map { $0.withoutLabels(hiddenBy: redaction) }),
        ("deny", deny.filter { !$0.asksForLabels(hiddenBy: redaction) }),
      ]
      for (key, rules) in parts {
        var known: Set<String> = []
        let told = rules.map(\.anywhere).filter { known.insert($0.canonicalText).inserted }
        guard !told.isEmpty else { continue }
        object.field(key, array: { array in for rule in told { rule.write(to: &array) } })
      }
    }
    return writer.text
  }

  /// Nil when the text says something that is not understood here.
  public init?(parsing text: String) {
    let (root, found) = YAML.parseSingle(yaml: Array(text.utf8), file: "grant")
    let problems = ProblemList(found)
    guard let root else { return nil }
    let parts = MappingReader.read(root, problems: problems) { reader in
      (
        allow: reader.mappings("allow") { RuleTemplate.read($0, isAllow: true) } ?? [],
        deny: reader.mappings("deny") { RuleTemplate.read($0, isAllow: false) } ?? []
      )
    }
    guard let parts, !problems.hasErrors else { return nil }
    do throws(LabelSelectorFault) {
      var rules: [[Rule]] = []
      for templates in [parts.allow, parts.deny] {
        rules.append(try templates.map { template throws(LabelSelectorFault) in try template.rule(for: "") })
      }
      (allow, deny) = (rules[0], rules[1])
    } catch {
      return nil
    }
    allowed = Set(allow.map(\.canonicalText))
  }

  var ruleCount: Int { allow.count + deny.count }

  /// Whether an object that is like this is granted.
  func covers(_ facts: ResourceFacts) -> Bool {
    allow.contains { $0.matches(facts) } && !deny.contains { $0.matches(facts) }
  }

  /// Whether some object of this name could be granted, whatever its labels.
  public func mayGrant(_ type: TypeName, namespace: String, name: String) -> Bool {
    let query = VisibilityQuery(type: type, namespace: namespace, name: name)
    return VisibilitySearch(allow, deny).search(query) != .hidden
  }

  /// Whether everything that `rule` matches is granted, as far as the words tell.
  func covers(_ rule: Rule) -> Bool {
    let wanted = rule.anywhere
    guard !deny.contains(where: { $0.mayMeet(rule) }) else { return false }
    return allowed.contains(wanted.canonicalText) || allow.contains { $0.covers(wanted) }
  }
}

extension Rule {
  fileprivate func asksForLabels(hiddenBy redaction: Redaction?) -> Bool {
    guard let redaction, let labels else { return false }
    return labels.requirements.contains { redaction.hides(label: $0.key) }
  }

  /// The same rule, for whatever labels where they are hidden.
  fileprivate func withoutLabels(hiddenBy redaction: Redaction?) -> Rule {
    guard asksForLabels(hiddenBy: redaction), let redaction, let labels else { return self }
    return Rule(
      position: position, namespaces: namespaces, types: types, names: names,
      labels: LabelSelector(labels.requirements.filter { !redaction.hides(label: $0.key) }), sources: sources)
  }

  /// False when no object can match both, as far as the words of each key alone tell.
  func mayMeet(_ other: Rule) -> Bool {
    Rule.mayMeet(namespaces, other.namespaces) && Rule.mayMeet(types, other.types)
      && Rule.mayMeet(names, other.names)
  }

  private static func mayMeet(_ left: GlobList?, _ right: GlobList?) -> Bool {
    guard let left, let right else { return true }
    return left.patterns.contains { pattern in right.patterns.contains { pattern.mayMeet($0) } }
  }
}

extension GlobPattern {
  /// False when no text matches both, as far as their beginnings and ends tell.
  func mayMeet(_ other: GlobPattern) -> Bool {
    if isExact { return other.matches(text) }
    if other.isExact { return matches(other.text) }
    let star = UInt8(ascii: "*")
    let (mine, others) = (text.utf8, other.text.utf8)
    let (start, otherStart) = (mine.prefix { $0 != star }, others.prefix { $0 != star })
    let (end, otherEnd) = (mine.reversed().prefix { $0 != star }, others.reversed().prefix { $0 != star })
    return zip(start, otherStart).allSatisfy { $0 == $1 } && zip(end, otherEnd).allSatisfy { $0 == $1 }
  }
}
