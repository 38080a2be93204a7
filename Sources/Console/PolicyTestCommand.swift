// `meshrelay policy test`: judges the expectations in policy files as every load does.

import Documents
import Policy

public struct PolicyTestCommand: Sendable {
  public var files: [String]

  public init(files: [String]) { self.files = files }

  /// Returns the exit code: 0 all hold, 1 problems or failed expectations.
  public func run() -> Int32 {
    let loaded = PolicyRules.load(files: files)
    for problem in Problem.sorted(loaded.problems) { printText("\(problem)\n") }
    guard let rules = loaded.rules else { return 1 }
    printText("\(rules.expectationCount) expectations hold for \(rules.clusters.count) clusters\n")
    return 0
  }
}
