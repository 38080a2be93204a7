// Goal: every tidiness rule can fail, and does not cry where there is nothing. Method: sample text in,
// findings out.

import Testing

private let head = "// A sample file whose head comment is long enough to count.\n"

private func source(_ text: String, path: String = "Sources/XDS/Sample.swift") -> SwiftSource {
  SwiftSource(path: path, text: head + text)
}

@Suite struct RuleTests {
  @Test(arguments: [
    "package func f() {}", "open class C {}", "  package let x = 1", "@inlinable package func f() {}",
    "package import Glibc", "package static var x = 1",
  ])
  func refusesAccessLevels(text: String) {
    #expect(Rules.accessLevels(in: source(text)).count == 1)
  }

  @Test(arguments: [
    "public func open() {}", "let package = Package()", "// package func f()", "file.open(func)",
  ])
  func acceptsOtherUsesOfTheWords(text: String) {
    #expect(Rules.accessLevels(in: source(text)).isEmpty)
  }

  @Test(arguments: [
    "struct StreamManager {}", "final class TLSHelper {}", "enum StringUtils {}", "enum Common {}",
    "class BaseStream {}",
    "struct StreamImpl {}", "protocol DriverProtocol {}", "struct Handler {}", "actor PushOrchestrator {}",
    "enum XDS {}", "typealias StreamBase = Int",
  ])
  func refusesEmptyNames(text: String) {
    #expect(Rules.typeNames(in: source(text)).count == 1)
  }

  @Test(arguments: [
    "struct Baseline {}", "protocol SocketHandler {}", "struct HTTP2Session {}", "enum Commonality {}",
    "let manager = StreamManager.self", "struct ProtocolVersion {}",
  ])
  func acceptsTellingNames(text: String) {
    #expect(Rules.typeNames(in: source(text)).isEmpty)
  }

  @Test(arguments: ["print(x)", "debugPrint(x)", "  NSLog(x)", "fputs(s, stderr)", "a; print (x)"])
  func refusesPrinting(text: String) {
    #expect(Rules.printing(in: source(text)).count == 1)
    #expect(Rules.printing(in: source(text, path: "Sources/Console/Sample.swift")).isEmpty)
  }

  @Test(arguments: [
    "value.print(x)", "func print(_ x: Int) {}", "let s = \"print(x)\"", "// print(x)", "reprint(x)",
  ])
  func acceptsWhatIsNoPrinting(text: String) {
    #expect(Rules.printing(in: source(text)).isEmpty)
  }

  @Test func refusesFoundationOnTheDataPathOnly() {
    #expect(Rules.foundation(in: source("import Foundation")).count == 1)
    #expect(Rules.foundation(in: source("public import Foundation")).count == 1)
    #expect(Rules.foundation(in: source("import struct Foundation.URL")).count == 1)
    #expect(Rules.foundation(in: source("import FoundationEssentials")).isEmpty)
    #expect(Rules.foundation(in: source("import Foundation", path: "Sources/Relay/Sample.swift")).isEmpty)
  }

  @Test(arguments: [
    "let x = try! f()", "let y = x as! Int", "fatalError()", "fatalError(\"no\")", "preconditionFailure()",
    "preconditionFailure(message)",
  ])
  func refusesSilentTraps(text: String) {
    #expect(Rules.traps(in: source(text)).count == 1)
  }

  @Test(arguments: [
    "fatalError(\"the ring was lost while a send was in flight\")",
    "preconditionFailure(\n  \"state \\(s) has no stream\")",
    "let s = \"try! as!\"", "if x as? Int != nil {}", "// fatalError()",
  ])
  func acceptsTrapsWithASentence(text: String) {
    #expect(Rules.traps(in: source(text)).isEmpty)
  }

  @Test(arguments: ["extension X: @unchecked Sendable {}", "// TODO: later", "let x = 1  // FIXME"])
  func refusesEvasions(text: String) {
    #expect(Rules.evasions(in: source(text)).count == 1)
  }

  @Test(arguments: [
    "await f()", "let c = ContinuousClock()", "Task { f() }", "var g = SystemRandomNumberGenerator()",
  ])
  func refusesAWorldInPureRooms(text: String) {
    #expect(Rules.impurity(in: source(text)).count == 1)
    #expect(Rules.impurity(in: source(text, path: "Sources/Relay/Sample.swift")).isEmpty)
  }

  @Test func refusesAMissingHeadComment() {
    let path = "Sources/XDS/Sample.swift"
    #expect(Rules.headComment(in: SwiftSource(path: path, text: "import Glibc\n")).count == 1)
    #expect(Rules.headComment(in: SwiftSource(path: path, text: "// short\nimport Glibc\n")).count == 1)
    #expect(Rules.headComment(in: source("import Glibc")).isEmpty)
  }

  @Test func reportsLongFiles() {
    let lines = String(repeating: "let x = 1\n", count: Rules.fileLinesMax + 1)
    #expect(Rules.size(of: source(lines)) != nil)
    #expect(Rules.size(of: source("let x = 1")) == nil)
  }

  @Test func generatedFilesAreNotJudged() {
    let generated = SwiftSource(path: "Sources/Protos/a.pb.swift", text: "package struct Manager {}")
    #expect(Rules.findings(in: generated).isEmpty)
  }
}

@Suite struct ImportRuleTests {
  private let rooms = [
    Room(name: "Low", floor: 1, rooms: [], libraries: [], isDataPath: false, isPure: false),
    Room(name: "High", floor: 2, rooms: ["Low"], libraries: ["Yams"], isDataPath: false, isPure: false),
  ]

  @Test func refusesATableThatPointsUp() {
    let upward = Room(name: "Low", floor: 1, rooms: ["High"], libraries: [], isDataPath: false, isPure: false)
    let unknown = Room(
      name: "Low", floor: 1, rooms: ["Nowhere"], libraries: [], isDataPath: false, isPure: false)
    #expect(ImportRules.findings(inTable: rooms).isEmpty)
    #expect(ImportRules.findings(inTable: [upward, rooms[1]]).count == 1)
    #expect(ImportRules.findings(inTable: [unknown]).count == 1)
  }

  @Test func refusesTargetsThatLeaveTheTable() {
    let good = PackageManifest.targets(
      of: "targets: [room(\"High\", [\"Low\", .product(name: \"Yams\", package: \"Yams\")])]")
    let bad = PackageManifest.targets(of: "targets: [room(\"Low\", [\"High\"]), room(\"Strange\")]")
    #expect(ImportRules.findings(inTargets: good, rooms: rooms).isEmpty)
    #expect(ImportRules.findings(inTargets: bad, rooms: rooms).count == 2)
  }

  @Test func refusesImportsThePackageManifestDoesNotList() {
    let targets = [ManifestTarget(name: "XDS", dependencies: ["Snapshots"], isTest: false)]
    #expect(ImportRules.findings(in: source("import Glibc\nimport Snapshots"), targets: targets).isEmpty)
    let findings = ImportRules.findings(in: source("public import Ring"), targets: targets)
    #expect(findings.map(\.line) == [2])
  }

  @Test func refusesDependenciesNobodyImports() {
    let target = ManifestTarget(name: "XDS", dependencies: ["Snapshots", "Protos"], isTest: false)
    let findings = ImportRules.unusedDependencies(of: target, sources: [source("import Snapshots")])
    #expect(findings.count == 1)
  }
}

@Suite struct ReadingTests {
  @Test func manifestTargetsAreRead() {
    let targets = PackageManifest.targets(
      of: """
        func room(_ name: String) -> Target { .target(name: name) }
        let package = Package(name: "x", targets: [
          .systemLibrary(name: "COpenSSL", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),
          room("A", [.product(name: "Yams", package: "Yams"), "B"], resources: [.copy("a.bin")]),
          // room("Gone"),
          .executableTarget(name: "meshrelay", dependencies: ["A"], path: "Sources/meshrelay"),
          tests("A", ["A"]),
        ])
        """)
    #expect(
      targets == [
        ManifestTarget(name: "COpenSSL", dependencies: [], isTest: false),
        ManifestTarget(name: "A", dependencies: ["Yams", "B"], isTest: false),
        ManifestTarget(name: "meshrelay", dependencies: ["A"], isTest: false),
        ManifestTarget(name: "ATests", dependencies: ["A"], isTest: true),
      ])
  }

  @Test func commentsAndStringsAreBlankedAndInterpolationsAreNot() {
    let text = #"a("x \(b("y")) z") // c"# + "\n" + #"d /* e /* f */ g */ h "\"" i"#
    let lines = SwiftSource(path: "x", text: text).codeLines
    #expect(lines == [#"a("  \(b(" "))  ")     "#, #"d                   h "  " i"#])
  }

  @Test func rawAndLongStringsAreBlanked() {
    let text = "x = #\"a \" b\"#\ny = \"\"\"\n  print(1)\n  \"\"\"\nz"
    let lines = SwiftSource(path: "x", text: text).codeLines
    #expect(lines == ["x = #\"     \"#", "y = \"\"\"", "          ", "  \"\"\"", "z"])
  }

  @Test func regularExpressionsAreBlanked() {
    #expect(SwiftSource(path: "x", text: "let r = #/try! \\(/#; b").codeLines == ["let r = #/       /#; b"])
  }

  @Test func namesFallIntoWords() {
    #expect(Rules.words(ofCamelCase: "HTTPServerBase") == ["HTTP", "Server", "Base"])
    #expect(Rules.words(ofCamelCase: "Baseline") == ["Baseline"])
  }
}
