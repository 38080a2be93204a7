// The tests an operator writes into a policy file: what an identity must see, and what must stay hidden.
// Judged on the rules alone, before any object exists, at every load. Source: DESIGN.md §6, `tests`.

import Documents
import SPIFFE
import Snapshots

/// One item of `tests`.
struct Expectation {
  let identity: Located<SPIFFEID>
  let sees: [Located<VisibilityQuery>]
  let hidden: [Located<VisibilityQuery>]

  var count: Int { sees.count + hidden.count }

  static func read(_ reader: MappingReader) -> Expectation? {
    let text = reader.string("as", required: true)
    let sees = queries("sees", of: reader, isExact: true)
    let hidden = queries("hidden", of: reader, isExact: false)
    if reader.entry("sees") == nil, reader.entry("hidden") == nil {
      reader.problems.report(reader.position, "this test expects nothing", howToFix: "add sees or hidden")
    }
    guard let text else { return nil }
    do throws(SPIFFEError) {
      let identity = Located(try SPIFFEID(parsing: text.value), at: text.position)
      return Expectation(identity: identity, sees: sees, hidden: hidden)
    } catch {
      reader.problems.report(
        text.position, "\(Problem.quote(text.value)) is no SPIFFE ID", why: error.what,
        howToFix: error.howToFix)
      return nil
    }
  }

  private static func queries(
    _ key: String, of reader: MappingReader, isExact: Bool
  ) -> [Located<VisibilityQuery>] {
    (reader.strings(key) ?? []).compactMap { text in
      do throws(VisibilityQuery.Fault) {
        let query = try VisibilityQuery(parsing: text.value, isExact: isExact)
        warn(of: query, at: text.position, reader.problems)
        return Located(query, at: text.position)
      } catch {
        reader.problems.report(
          text.position, error.what,
          howToFix: "write it like \"networking.istio.io/VirtualService foo/reviews {tier=edge}\"")
        return nil
      }
    }
  }

  /// What no object is like is hidden whatever the rules say, and proves nothing.
  private static func warn(of query: VisibilityQuery, at position: SourcePosition, _ problems: ProblemList) {
    (try? TypePattern(parsing: query.type.text))?.warnIfUnknown(at: position, problems)
    for part in [query.namespace.text, query.name.text] where RuleTemplate.matchesNothing(part) {
      problems.report(
        position, "\(Problem.quote(part)) in this test matches nothing",
        why: "names have only a-z, 0-9, - and . in them", severity: .warning)
    }
  }

  // MARK: Judgement

  func failures(under rules: PolicyRules) -> [Problem] {
    let match = rules.cluster(for: identity.value)
    return sees.compactMap { failure(ofSeeing: $0, match, rules) }
      + hidden.compactMap { failure(ofHiding: $0, match, rules) }
  }

  private func failure(
    ofSeeing query: Located<VisibilityQuery>, _ match: ClusterMatch, _ rules: PolicyRules
  ) -> Problem? {
    func problem(_ why: String) -> Problem {
      Problem(query.position, "test failed: \(identity.value) does not see \(query.value)", why: why)
    }
    switch match {
    case .blocked: return problem("it is blocked")
    case .none: return problem("no cluster has this identity")
    case .cluster(let index, _):
      let cluster = rules.clusters[index]
      switch VisibilitySearch(cluster.allow, cluster.deny).search(query.value) {
      case .visible: return nil
      case .hidden: return problem(Expectation.whatHides(query.value, cluster))
      case .undecided: return problem(Expectation.undecided)
      }
    }
  }

  private static func whatHides(_ query: VisibilityQuery, _ cluster: ClusterRules) -> String {
    if case .hidden = VisibilitySearch(cluster.allow, []).search(query) {
      return "no rule of \(cluster.name) allows it"
    }
    let denying = cluster.deny.first { VisibilitySearch(cluster.allow, [$0]).search(query) == .hidden }
    return denying.map { "the rule at \($0.position) denies it to \(cluster.name)" }
      ?? "rules of \(cluster.name) deny it together"
  }

  private func failure(
    ofHiding query: Located<VisibilityQuery>, _ match: ClusterMatch, _ rules: PolicyRules
  ) -> Problem? {
    guard case .cluster(let index, let name) = match else { return nil }
    let cluster = rules.clusters[index]
    let what = "test failed: \(identity.value) can see \(query.value)"
    switch VisibilitySearch(cluster.allow, cluster.deny).search(query.value) {
    case .hidden: return nil
    case .visible(let example, let rule):
      return Problem(query.position, what, why: "\(name) is allowed \(example) by the rule at \(rule)")
    case .undecided: return Problem(query.position, what, why: Expectation.undecided)
    }
  }

  /// Reason: a promise about hiding that cannot be proven counts as broken.
  private static let undecided = "the rules have too many patterns to prove it, name fewer in the test"
}

/// Objects that a test speaks of: `TYPE NAMESPACE/NAME {label=value,…}`.
struct VisibilityQuery: Equatable, CustomStringConvertible {
  let text: String
  let type: GlobPattern
  let namespace: GlobPattern
  let name: GlobPattern
  let labels: [String: String]
  /// One object with just these labels; otherwise all objects that match and have at least these labels.
  let isExact: Bool

  struct Fault: Error, Equatable {
    let what: String
  }

  init(parsing text: String, isExact: Bool) throws(Fault) {
    self.text = text
    self.isExact = isExact
    let parts = text.split(separator: " ", maxSplits: 2, omittingEmptySubsequences: true)
    guard parts.count >= 2 else { throw Fault(what: "\(Problem.quote(text)) is not TYPE NAMESPACE/NAME") }
    do throws(TypePatternFault) {
      type = try TypePattern(parsing: String(parts[0])).glob
    } catch {
      throw Fault(what: error.what)
    }
    let path = parts[1].split(separator: "/", omittingEmptySubsequences: false)
    guard path.count <= 2, let last = path.last, !last.isEmpty else {
      throw Fault(what: "\(Problem.quote(String(parts[1]))) is not NAMESPACE/NAME")
    }
    namespace = GlobPattern(path.count == 2 ? String(path[0]) : "")
    name = GlobPattern(String(last))
    labels = try parts.count == 3 ? VisibilityQuery.labels(parts[2]) : [:]
    if isExact, !(type.isExact && namespace.isExact && name.isExact) {
      throw Fault(what: "\(Problem.quote(text)) has a star, but sees names single objects")
    }
  }

  /// One object, with whatever labels.
  init(type: TypeName, namespace: String, name: String) {
    self.init(
      type: GlobPattern(type.description), namespace: GlobPattern(namespace), name: GlobPattern(name))
  }

  /// Every object there could be.
  static let everything = VisibilityQuery(
    type: GlobPattern("*/*"), namespace: GlobPattern("*"), name: GlobPattern("*"))

  private init(type: GlobPattern, namespace: GlobPattern, name: GlobPattern) {
    text = "\(type) \(namespace)/\(name)"
    self.type = type
    self.namespace = namespace
    self.name = name
    labels = [:]
    isExact = false
  }

  var description: String { text }

  private static func labels(_ text: Substring) throws(Fault) -> [String: String] {
    let text = text.filter { $0 != " " }
    guard text.hasPrefix("{"), text.hasSuffix("}"), text.count >= 2 else {
      throw Fault(what: "\(Problem.quote(text)) is not {label=value,…}")
    }
    var labels: [String: String] = [:]
    for pair in text.dropFirst().dropLast().split(separator: ",", omittingEmptySubsequences: true) {
      let sides = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard sides.count == 2, !sides[0].isEmpty, labels[String(sides[0])] == nil else {
        throw Fault(what: "\(Problem.quote(String(pair))) is not label=value, or its label stands twice")
      }
      labels[String(sides[0])] = String(sides[1])
    }
    return labels
  }
}
