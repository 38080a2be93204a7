// Goal: what we ship as examples is sound under the rules we enforce.
// Method: read every example and demo file of the repository as `check` does.

import Documents
import Policy
import Testing

@testable import Configuration

struct ShippedFilesTests {
  private static let root = #filePath.split(separator: "/").dropLast(3).reduce("") { $0 + "/" + $1 }

  @Test(arguments: ["packaging/debian/examples/policy.yaml", "demo/policies"])
  func policiesAreSound(_ path: String) throws {
    let full = ShippedFilesTests.root + "/" + path
    let files =
      TextFile.isFolder(full) ? try TextFile.names(inFolder: full).map { full + "/" + $0 } : [full]
    for file in files {
      let (rules, problems, _) = PolicyRules.load(path: file)
      #expect(problems.map(\.description) == [], "\(file)")
      #expect(rules?.clusters.isEmpty == false, "\(file)")
    }
  }

  @Test(arguments: ["packaging/debian/examples/origin.yaml", "packaging/debian/examples/edge.yaml"])
  func configurationsAreSound(_ path: String) {
    let (configuration, problems) = RelayConfiguration.load(path: ShippedFilesTests.root + "/" + path)
    #expect(problems.map(\.description) == [])
    #expect(configuration != nil)
  }

  /// The file of `connect` inside its ConfigMap.
  @Test func theCompanionsConfigurationIsSound() throws {
    let path = ShippedFilesTests.root + "/docs/kubernetes/companion-config.yaml"
    let manifest = YAML.parseSingle(yaml: try TextFile.read(path), file: path)
    #expect(manifest.problems.isEmpty)
    let text = try #require(manifest.root?["data"]?["connect.yaml"]?.scalar?.text)
    let (configuration, problems) = CompanionConfiguration.parse(Array(text.utf8), file: "connect.yaml")
    #expect(problems.map(\.description) == [])
    #expect(configuration?.listen == CompanionConfiguration.standardListen)
  }
}
