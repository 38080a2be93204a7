// `meshrelay policy test`: judges the expectations in policy files as every load does.

import Documents
import Policy
import Primitives

public struct PolicyTestCommand: Sendable {
  public var files: [String]
  public var json: Bool

  public init(files: [String], json: Bool) {
    self.files = files
    self.json = json
  }

  /// Returns the exit code: 0 all hold, 1 problems or failed expectations.
  public func run() -> Int32 {
    let loaded = PolicyRules.load(files: files)
    let problems = Problem.sorted(loaded.problems)
    printText(json ? PolicyTestCommand.json(loaded.rules, problems) : text(loaded.rules, problems))
    return loaded.rules == nil ? 1 : 0
  }

  private func text(_ rules: PolicyRules?, _ problems: [Problem]) -> String {
    var lines = problems.map { "\($0)" }
    if let rules {
      lines.append("\(rules.expectationCount) expectations hold for \(rules.clusters.count) clusters")
    }
    return lines.map { $0 + "\n" }.joined()
  }

  /// `problems` as `check --json` has them; without rules there are no counts.
  private static func json(_ rules: PolicyRules?, _ problems: [Problem]) -> String {
    var writer = JSONWriter()
    writer.object { object in
      object.field("sound", rules != nil)
      if let rules {
        object.field("expectations", rules.expectationCount)
        object.field("clusters", rules.clusters.count)
      }
      object.field(
        "problems", array: { array in for problem in problems { Finding(problem).write(to: &array) } })
    }
    return writer.text + "\n"
  }
}
