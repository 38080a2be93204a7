// Goal: whatever is done to the files of a log, `audit verify` finds it, and says where it begins.
// Method: random logs over several files, one random damage each, seeds printed; judged as the command does, with
// the head that was noted elsewhere.

import Audit
import Foundation
import Primitives
import Testing

@testable import Console

struct AuditVerdictTests {
  /// Files of one log, each as its lines.
  private struct Files {
    var lines: [[[UInt8]]]
    let head: String

    init(_ random: inout SeededGenerator) {
      var chain = AuditChain(after: .none)
      lines = []
      for file in 0..<Int.random(in: 1...4, using: &random) {
        var bytes: [UInt8] = []
        let now = Timestamp(seconds: 1_795_435_200 + Int64(file))
        if file > 0 {
          chain.appendCheckpoint(reason: AuditRotation.reason, at: now, certificates: [], to: &bytes) { _ in
            nil
          }
        }
        for _ in 0..<Int.random(in: 2...12, using: &random) {
          let event =
            AuditRecord.Event.allCases.filter { $0 != .checkpoint }.randomElement(using: &random) ?? .ack
          chain.append(
            AuditRecord(event, cluster: "a", version: String(UInt16.random(in: 0...9, using: &random))),
            at: now,
            to: &bytes)
        }
        lines.append(bytes.split(separator: UInt8(ascii: "\n")).map(Array.init))
      }
      head = chain.head.description
    }

    /// Writes them as a relay names them; returns the paths in order.
    func write(to folder: URL) throws -> [String] {
      try lines.indices.map { index in
        let name = index == lines.count - 1 ? "audit.jsonl" : "audit.jsonl.00000000000\(index + 1)"
        let path = folder.appending(path: name)
        try Data(lines[index].flatMap { $0 + [UInt8(ascii: "\n")] }).write(to: path)
        return path.path(percentEncoded: false)
      }
    }
  }

  /// Damages one place. Returns the first line that is another one, counted over all files; nil where a file begins
  /// otherwise than before, so that it may even be taken for another one's successor.
  private static func damage(_ files: inout Files, _ random: inout SeededGenerator) -> Int? {
    let file = files.lines.indices.randomElement(using: &random) ?? 0
    let line = files.lines[file].indices.randomElement(using: &random) ?? 0
    let before = files.lines[..<file].reduce(0) { $0 + $1.count }
    func place(_ line: Int) -> Int? { line == 0 ? nil : before + line }
    switch Int.random(in: 0..<7, using: &random) {
    case 0:
      let byte = files.lines[file][line].indices.randomElement(using: &random) ?? 0
      files.lines[file][line][byte] ^= 1 << UInt8.random(in: 0..<8, using: &random)
    case 1: files.lines[file].remove(at: line)
    case 2:
      let other = files.lines[file].indices.randomElement(using: &random) ?? 0
      files.lines[file].insert(files.lines[file][line], at: other)
      return place(other)
    case 3:
      let other = files.lines[file].indices.filter { $0 != line }.randomElement(using: &random) ?? 0
      files.lines[file].swapAt(line, other)
      return place(min(line, other))
    case 4:
      // An end that is cut off: a whole file may go.
      files.lines[file].removeSubrange(line...)
    case 5:
      let count = Int.random(in: 0..<files.lines[file][line].count, using: &random)
      files.lines[file][line] = Array(files.lines[file][line][..<count])
    default:
      let other = files.lines.indices.randomElement(using: &random) ?? 0
      let forged = files.lines[other].randomElement(using: &random) ?? []
      guard forged != files.lines[file][line] else { return damage(&files, &random) }
      files.lines[file][line] = forged
    }
    return place(line)
  }

  @Test(arguments: 0..<300)
  func everyDamageIsFoundWhereItIs(_ round: Int) throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    var random = SeededGenerator(seed: seed)
    let folder = FileManager.default.temporaryDirectory.appending(path: "verdict-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    var files = Files(&random)
    var sound = AuditVerdict(heads: [files.head])
    sound.judge(try files.write(to: folder).shuffled(using: &random))
    #expect(sound.problem == nil, "seed \(seed): \(sound.text)")
    let first = Self.damage(&files, &random)
    let paths = try files.write(to: folder)
    var verdict = AuditVerdict(heads: [files.head])
    verdict.judge(paths.shuffled(using: &random))
    let problem = try #require(verdict.problem, "seed \(seed)")
    guard let first, problem.line > 0, let file = paths.firstIndex(of: problem.file) else { return }
    // A changed line shows at the next one at the latest, whose `prev` no longer fits.
    let place = files.lines[..<file].reduce(0) { $0 + $1.count } + problem.line - 1
    #expect(
      (first...first + 1).contains(place), "seed \(seed): damaged \(first), said \(place): \(verdict.text)")
    #expect(problem.seq == nil || problem.seq == UInt64(place) + 1, "seed \(seed): \(verdict.text)")
  }

  @Test func whereItIsIsToldInWordsAndForPrograms() throws {
    var random = SeededGenerator(seed: 1)
    let folder = FileManager.default.temporaryDirectory.appending(path: "verdict-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    var files = Files(&random)
    files.lines[0].remove(at: 1)
    let paths = try files.write(to: folder)
    var verdict = AuditVerdict(heads: [])
    verdict.judge(paths)
    #expect(verdict.text.hasPrefix("\(paths[0]):2: seq is 3 where 2 has to follow."))
    #expect(verdict.text.hasSuffix("Up to seq 1 the lines fit together, and nothing is signed.\n"))
    #expect(verdict.json.contains(#""line":2,"seq":2,"message":"#))
    #expect(AuditVerifyCommand(files: paths, heads: ["zz"], bundles: [], json: false).run() == 64)
    #expect(AuditVerifyCommand(files: paths, heads: [], bundles: ["x"], json: false).run() == 64)
  }
}
