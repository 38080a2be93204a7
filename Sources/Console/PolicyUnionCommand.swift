// `meshrelay policy union`: what the tier above must grant a relay whose policy these files are.

import Documents
import Policy
import Primitives

public struct PolicyUnionCommand: Sendable {
  public var files: [String]
  public var json: Bool

  public init(files: [String], json: Bool) {
    self.files = files
    self.json = json
  }

  /// Returns the exit code: 0, or 1 when the files have problems.
  public func run() -> Int32 {
    let loaded = PolicyRules.load(files: files)
    for problem in Problem.sorted(loaded.problems) { printError("\(problem)\n") }
    guard let rules = loaded.rules else { return 1 }
    let union = rules.union
    printText(json ? PolicyUnionCommand.json(union) : PolicyUnionCommand.yaml(union, of: rules))
    return 0
  }

  private static func json(_ union: (allow: [Rule], deny: [Rule])) -> String {
    var writer = JSONWriter()
    writer.object { object in
      object.field("allow", array: { array in for rule in union.allow { rule.write(to: &array) } })
      object.field("deny", array: { array in for rule in union.deny { rule.write(to: &array) } })
    }
    return writer.text + "\n"
  }

  /// Lines to paste into the policy of the tier above; a rule in JSON is a rule in YAML.
  private static func yaml(_ union: (allow: [Rule], deny: [Rule]), of rules: PolicyRules) -> String {
    var lines = ["# What the tier above must grant for \(rules.clusters.count) clusters below."]
    if union.allow.isEmpty { lines.append("# Nothing: none of them is allowed anything.") }
    for (key, rules) in [("allow", union.allow), ("deny", union.deny)] where !rules.isEmpty {
      lines.append("\(key):")
      for rule in rules {
        var writer = JSONWriter()
        rule.write(to: &writer)
        lines.append("  - \(writer.text)")
      }
    }
    return lines.joined(separator: "\n") + "\n"
  }
}
