// Goal: the source tree keeps the rules of the house. Method: read Package.swift and every Swift file
// below Sources and Tests, apply every rule, and show all findings at once.

import Foundation
import Testing

/// The repository as files in memory, read once.
enum Tree {
  static let root = URL(filePath: #filePath).resolvingSymlinksInPath()
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

  static let manifest: [ManifestTarget] = PackageManifest.targets(of: text(at: "Package.swift"))

  static let sources: [SwiftSource] = files(below: "Sources") + files(below: "Tests")

  private static func text(at path: String) -> String {
    (try? String(contentsOf: root.appending(path: path), encoding: .utf8)) ?? ""
  }

  /// Swift files below a folder, sorted by path; folders whose names begin with a dot are not sources.
  private static func files(below folder: String) -> [SwiftSource] {
    let all = FileManager.default.enumerator(
      at: root.appending(path: folder), includingPropertiesForKeys: nil, options: [.skipsHiddenFiles])
    let prefix = root.path(percentEncoded: false)
    return (all?.compactMap { $0 as? URL } ?? [])
      .filter { $0.pathExtension == "swift" }
      .map { $0.path(percentEncoded: false) }
      .sorted()
      .map { String($0.dropFirst(prefix.hasSuffix("/") ? prefix.count : prefix.count + 1)) }
      .map { SwiftSource(path: $0, text: text(at: $0)) }
  }
}

@Suite struct TreeTests {
  @Test func thereIsATreeToJudge() {
    #expect(Tree.manifest.contains { $0.name == "Primitives" })
    #expect(Tree.sources.contains { $0.path == "Sources/Primitives/Explained.swift" })
  }

  @Test func theDrawingItselfPointsDown() {
    let findings = ImportRules.findings(inTable: RoomTable.rooms)
    #expect(findings.isEmpty, "\(findings.joined(separator: "\n"))")
  }

  @Test func packageManifestFollowsTheDrawing() {
    let findings = ImportRules.findings(inTargets: Tree.manifest, rooms: RoomTable.rooms)
    #expect(findings.isEmpty, "\(findings.joined(separator: "\n"))")
  }

  @Test func importLinesFollowThePackageManifest() {
    let findings = Tree.sources.flatMap { ImportRules.findings(in: $0, targets: Tree.manifest) }
    #expect(findings.isEmpty, "\(findings.map(\.description).joined(separator: "\n"))")
  }

  @Test func everyListedDependencyIsUsed() {
    let findings = Tree.manifest.filter { !$0.isTest }
      .flatMap { ImportRules.unusedDependencies(of: $0, sources: Tree.sources) }
    #expect(findings.isEmpty, "\(findings.joined(separator: "\n"))")
  }

  @Test func everyFileKeepsTheRules() {
    // The rules' own tests quote what the rules forbid, but only inside string literals.
    let findings = Tree.sources.flatMap(Rules.findings(in:))
    #expect(findings.isEmpty, "\(findings.map(\.description).joined(separator: "\n"))")
  }

  @Test func longFilesAreReported() {
    for finding in Tree.sources.compactMap(Rules.size(of:)) {
      Issue.record("\(finding.description)", severity: .warning)
    }
  }
}
