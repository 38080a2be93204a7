// What is wrong with a file, at its place, in the form every command prints: file:line:column: what, why, how to fix.

public import Primitives

/// One finding about a file an operator wrote. The three texts are clauses without a full stop.
public struct Problem: Explained, Equatable {
  public enum Severity: String, Sendable {
    /// What it stands in cannot be used.
    case error
    /// It can be used, but hardly means what was intended.
    case warning
  }

  public let position: SourcePosition
  public let what: String
  public let why: String
  public let howToFix: String
  public let severity: Severity

  public init(
    _ position: SourcePosition, _ what: String, why: String = "", howToFix: String = "",
    severity: Severity = .error
  ) {
    self.position = position
    self.what = what
    self.why = why
    self.howToFix = howToFix
    self.severity = severity
  }

  public var blame: Blame { .operator }

  /// `file:line:column: what, why, how to fix`, on one line whatever the file contains.
  public var description: String {
    let clauses = [severity == .warning ? "warning: " + what : what, why, howToFix]
    let text = clauses.filter { !$0.isEmpty }.joined(separator: ", ")
    return ForeignText.line("\(position): \(text)")
  }

  /// The problems in the order of their places, for printing.
  public static func sorted(_ problems: [Problem]) -> [Problem] {
    problems.sorted { ($0.position, $0.what) < ($1.position, $1.what) }
  }

  /// Text of a file in quotes, cut after 60 characters, for use in a problem. What may be a secret is
  /// left out: everything before the last `@` (user information of a URL), and key material.
  public static func quote(_ text: String) -> String {
    guard !text.contains("-----BEGIN") else { return "\"…\"" }
    var shown = text[...]
    if let at = text.lastIndex(of: "@") { shown = "…" + text[at...] }
    let scalars = shown.unicodeScalars
    guard scalars.count > 60 else { return "\"\(shown)\"" }
    return "\"" + String(String.UnicodeScalarView(scalars.prefix(60))) + "…\""
  }
}

/// Collects problems while one file is read, so that all of them are reported at once.
public final class ProblemList {
  public private(set) var problems: [Problem]

  public init(_ problems: [Problem] = []) { self.problems = problems }

  public var hasErrors: Bool { problems.contains { $0.severity == .error } }

  public func report(
    _ position: SourcePosition, _ what: String, why: String = "", howToFix: String = "",
    severity: Problem.Severity = .error
  ) {
    problems.append(Problem(position, what, why: why, howToFix: howToFix, severity: severity))
  }

  public func append(_ more: [Problem]) { problems += more }
}
