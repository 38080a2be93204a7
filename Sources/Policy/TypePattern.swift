// Patterns of kinds, as policy (`types`) and configuration (`types`, `only`) write them: group/Kind, never
// with a version, because all versions of a kind are one collection.

internal import Documents
public import Snapshots

/// Why a text is no type pattern: clauses for a problem.
public struct TypePatternFault: Error, Equatable, Sendable {
  public let what: String
  public let howToFix: String
}

/// `group/Kind` with stars; `*` alone means every kind.
public struct TypePattern: Hashable, Comparable, Sendable, CustomStringConvertible {
  /// Always with one slash: `*` alone is `*/*` here.
  public let glob: GlobPattern

  public init(parsing text: String) throws(TypePatternFault) {
    if text == "*" {
      glob = GlobPattern("*/*")
      return
    }
    let parts = text.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
      .map { String($0) ?? "" }
    if parts.count == 3 {
      let fixed = Problem.quote("\(parts[0])/\(parts[2])")
      throw TypePatternFault(
        what: "the type \(Problem.quote(text)) has a version or one slash too many",
        howToFix: "write \(fixed)")
    }
    guard parts.count == 2, !parts[1].isEmpty else {
      throw TypePatternFault(
        what: "the type \(Problem.quote(text)) is not group/Kind",
        howToFix: "write it like \"networking.istio.io/VirtualService\"")
    }
    guard !parts[0].isEmpty else {
      throw TypePatternFault(
        what: "the type \(Problem.quote(text)) has no group",
        howToFix: "write the core group as core/\(parts[1])")
    }
    for part in parts where TypePattern.isVersion(part) {
      throw TypePatternFault(
        what: "the type \(Problem.quote(text)) has a version",
        howToFix: "write group/Kind, which stands for all versions, and the core group as core")
    }
    glob = GlobPattern(text)
  }

  public func matches(_ type: TypeName) -> Bool { glob.matches(type.description) }

  /// The kind this names without a star, when the table of kinds does not have it.
  public var unknownKind: String? {
    guard glob.isExact, let type = TypeName(parsing: glob.text), Kinds[type] == nil else { return nil }
    return glob.text
  }

  /// Tells of a kind that nobody knows: it may come all the same.
  func warnIfUnknown(at position: SourcePosition, _ problems: ProblemList) {
    guard let unknownKind else { return }
    problems.report(
      position, "\(Problem.quote(unknownKind)) is no kind that is known here",
      howToFix: nearestKnown.map { "did you mean \"\($0)\"?" } ?? "", severity: .warning)
  }

  /// The known kind whose name is nearest to this text.
  public var nearestKnown: String? {
    Suggestion.nearest(to: glob.text, among: (Kinds.all + Kinds.classic).map(\.type.description))
  }

  public var description: String { glob.text == "*/*" ? "*" : glob.text }

  public static func < (left: TypePattern, right: TypePattern) -> Bool { left.glob < right.glob }

  /// `v1`, `v2beta1`: what Kubernetes takes for a version.
  private static func isVersion(_ text: String) -> Bool {
    let version = #/v[0-9]+((alpha|beta)[0-9]+)?/#
    return text.wholeMatch(of: version) != nil
  }
}
