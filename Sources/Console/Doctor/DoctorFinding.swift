// What `doctor` has found, one thing at a time: which probe, how bad, in one line, and what mends it.

import Primitives

struct DoctorFinding: Equatable {
  enum Level: String {
    case ok
    /// It works, and hardly as it should.
    case warning
    /// Something does not work.
    case problem
  }

  enum Probe: String, CaseIterable {
    case clock, kernel, memory, user, configuration, policy, sources, identity, trust, reachability,
      listening,
      state, relay,
      istiod
  }

  let probe: Probe
  let level: Level
  let text: String
  /// A command, or what to change; empty when nothing has to.
  let fix: String

  static func ok(_ probe: Probe, _ text: String) -> DoctorFinding {
    DoctorFinding(probe: probe, level: .ok, text: text, fix: "")
  }

  static func warning(_ probe: Probe, _ text: String, fix: String) -> DoctorFinding {
    DoctorFinding(probe: probe, level: .warning, text: text, fix: fix)
  }

  static func problem(_ probe: Probe, _ text: String, fix: String) -> DoctorFinding {
    DoctorFinding(probe: probe, level: .problem, text: text, fix: fix)
  }

  /// An error in its own words. `fix`: where it has none.
  static func of(_ error: some Explained, _ probe: Probe, as level: Level = .problem, fix: String = "")
    -> DoctorFinding
  {
    DoctorFinding(
      probe: probe, level: level, text: error.why.isEmpty ? error.what : "\(error.what): \(error.why)",
      fix: error.howToFix.isEmpty ? fix : error.howToFix)
  }
}

extension [DoctorFinding] {
  /// Nothing that does not work.
  var isSound: Bool { !contains { $0.level == .problem } }

  /// For people: aligned, fixes below, and a sentence at the end.
  var text: String {
    let width = DoctorFinding.Probe.allCases.map(\.rawValue.count).max() ?? 0
    var lines: [String] = []
    for finding in self {
      let level = finding.level.rawValue
      lines.append(
        level + String(repeating: " ", count: 9 - level.count) + finding.probe.rawValue
          + String(repeating: " ", count: width + 2 - finding.probe.rawValue.count)
          + ForeignText.line(finding.text))
      if !finding.fix.isEmpty {
        lines.append(String(repeating: " ", count: width + 11) + "fix: " + ForeignText.line(finding.fix))
      }
    }
    let (problems, warnings) = (count { $0.level == .problem }, count { $0.level == .warning })
    lines.append("\(problems) problems, \(warnings) warnings")
    return lines.map { $0 + "\n" }.joined()
  }

  var json: String {
    var writer = JSONWriter()
    writer.object { object in
      object.field("sound", isSound)
      object.field(
        "findings",
        array: { array in
          for finding in self {
            array.object { entry in
              entry.field("probe", finding.probe.rawValue)
              entry.field("level", finding.level.rawValue)
              entry.field("message", finding.text)
              entry.field("fix", finding.fix.isEmpty ? nil : finding.fix)
            }
          }
        })
    }
    return writer.text
  }
}
