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
      object.field("allow", array: { array in for rule in union.allow { write(rule, to: &array) } })
      object.field("deny", array: { array in for rule in union.deny { write(rule, to: &array) } })
    }
    return writer.text + "\n"
  }

  /// Lines to paste into the policy of the tier above; a rule in JSON is a rule in YAML.
  private static func yaml(_ union: (allow: [Rule], deny: [Rule]), of rules: PolicyRules) -> String {
    var lines = ["# What the tier above must grant for \(rules.clusters.count) clusters below."]
    for (key, rules) in [("allow", union.allow), ("deny", union.deny)] where !rules.isEmpty {
      lines.append("\(key):")
      for rule in rules {
        var writer = JSONWriter()
        write(rule, to: &writer)
        lines.append("  - \(writer.text)")
      }
    }
    return lines.joined(separator: "\n") + "\n"
  }

  private static func write(_ rule: Rule, to writer: inout JSONWriter) {
    writer.object { object in
      let lists = [("namespaces", rule.namespaces), ("types", rule.types), ("names", rule.names)]
      for (key, list) in lists {
        if let list { object.field(key, strings: list.patterns.map(\.text)) }
      }
      if let labels = rule.labels { object.field("labels", labels.description) }
    }
  }
}
