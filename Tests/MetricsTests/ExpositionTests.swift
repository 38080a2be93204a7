// Goal: what a scraper reads is well-formed, complete and the contract.
// Method: shards with known numbers, the text taken apart line by line; the table of docs/metrics.md is
// read and compared with the families that are printed.

import Foundation
import Primitives
import Testing

@testable import Metrics

struct ExpositionTests {
  static func text(_ shards: [MetricShard] = [MetricShard()], _ change: (inout RelayFacts) -> Void = { _ in })
    -> [String]
  {
    var facts = RelayFacts(version: "0.1.0")
    change(&facts)
    let bytes = Exposition(shards: shards, facts: facts, knownTypes: ["g/A", "g/B"]).text
    return String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init)
  }

  @Test func shardsAreAddedUp() {
    let shards = [MetricShard(), MetricShard()]
    shards[0].add(to: .handshakes(.ok))
    shards[1].add(2, to: .handshakes(.ok))
    shards[1].add(5, to: .pushedBytes)
    shards[0].change(.clients, by: 3)
    shards[1].change(.clients, by: -1)
    shards[1].setBusy(fraction: 0.25)
    let lines = Self.text(shards)
    #expect(lines.contains(#"meshrelay_handshakes_total{result="ok"} 3"#))
    #expect(lines.contains(#"meshrelay_handshakes_total{result="no_certificate"} 0"#))
    #expect(lines.contains("meshrelay_pushed_bytes_total 5"))
    #expect(lines.contains("meshrelay_clients 2"))
    #expect(lines.contains(#"meshrelay_loop_busy_ratio{loop="0"} 0"#))
    #expect(lines.contains(#"meshrelay_loop_busy_ratio{loop="1"} 0.25"#))
  }

  @Test func histogramsAreCumulativeWithInclusiveBounds() {
    let shard = MetricShard()
    for duration in [Duration.seconds(-1), .milliseconds(1), .milliseconds(2), .seconds(61)] {
      shard.record(duration, in: .push)
    }
    let lines = Self.text([shard]).filter { $0.hasPrefix("meshrelay_push_seconds") }
    #expect(lines.count == MetricShard.bounds.count + 3)
    #expect(lines.first == #"meshrelay_push_seconds_bucket{le="0.001"} 2"#)
    #expect(lines[1] == #"meshrelay_push_seconds_bucket{le="0.0025"} 3"#)
    #expect(lines[14] == #"meshrelay_push_seconds_bucket{le="60"} 3"#)
    #expect(
      Array(lines[15...]) == [
        #"meshrelay_push_seconds_bucket{le="+Inf"} 4"#, "meshrelay_push_seconds_sum 61.003",
        "meshrelay_push_seconds_count 4",
      ])
  }

  @Test func typesAreKnownOrOther() {
    let lines = Self.text { $0.resources = [("x/Z", 1), ("g/B", 2), ("x/Y", 3)] }
    let samples = lines.filter { $0.hasPrefix("meshrelay_snapshot_resources{") }
    #expect(
      samples == [
        #"meshrelay_snapshot_resources{type="g/B"} 2"#, #"meshrelay_snapshot_resources{type="other"} 4"#,
      ])
  }

  @Test func labelValuesAreEscaped() {
    let lines = Self.text { $0.sources = [RelayFacts.Source(name: "a\"b\\c\nd", isUp: true, rejected: 0)] }
    #expect(lines.contains(#"meshrelay_source_up{source="a\"b\\c\nd"} 1"#))
  }

  @Test func whatIsNotKnownHasNoSample() {
    let lines = Self.text()
    for name in ["snapshot_sequence", "svid_expiry_timestamp_seconds", "memory_bytes"] {
      #expect(lines.contains("# TYPE meshrelay_\(name) gauge"))
      #expect(!lines.contains { $0.hasPrefix("meshrelay_\(name) ") })
    }
    let known = Self.text { $0.memoryBytes = 1 << 40 }
    #expect(known.contains("meshrelay_memory_bytes 1099511627776"))
  }

  @Test func everySampleBelongsToTheFamilyAboveIt() {
    var family = ""
    var seen: Set<String> = []
    let lines = Self.text { $0.sources = [RelayFacts.Source(name: "s", isUp: false, rejected: 1)] }
    for line in lines {
      let words = line.split(separator: " ", maxSplits: 3)
      if line.hasPrefix("# HELP ") {
        family = String(words[2])
        #expect(words.count == 4, "help without text: \(line)")
        #expect(seen.insert(family).inserted, "family printed twice: \(family)")
      } else if !line.hasPrefix("# TYPE ") {
        #expect(line.hasPrefix(family) && Double(words.last ?? "") != nil, "stray sample: \(line)")
      }
    }
  }

  @Test func theContractNamesEveryFamilyAndNoOther() throws {
    let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    let page = try String(contentsOf: root.appending(path: "docs/metrics.md"), encoding: .utf8)
    let documented = page.split(separator: "\n").filter { $0.hasPrefix("| `meshrelay_") }.map {
      let cells = $0.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
      return cells[0].trimmingCharacters(in: ["`"]) + " " + cells[1]
    }
    let printed = Self.text().filter { $0.hasPrefix("# TYPE ") }.map { String($0.dropFirst("# TYPE ".count)) }
    #expect(printed == documented)
  }
}
