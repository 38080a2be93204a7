// The writer of a serve loop's records, as far as a test lets it: takes what waits, and says when it is written.

import Primitives

@testable import Audit

final class StagedWriter {
  let lane: AuditLane
  /// Everything taken so far.
  private(set) var lines: [String] = []
  /// Of `lines`, those that the lane was told of.
  private(set) var written = 0
  /// Records that the lane had no room for.
  private(set) var lost = 0
  /// Numbers of pieces that were ever in use.
  private(set) var numbers = 0
  private var chain = AuditChain(after: .none)
  private var pieces = KnownPieces()
  /// Taken and not committed, oldest first: the lane's count with it, its records, and what of them was lost.
  private var taken: [(upTo: UInt64, records: Int, lost: Int)] = []

  init(bytes: Int = 1 << 20) { lane = AuditLane(bytesSoft: bytes) {} }

  /// Takes what waits; with `commits`, as a writer whose disk works.
  func take(commits: Bool = true) {
    if let load = lane.take() {
      for case .definition(_, let number) in load.batch.entries { numbers = max(numbers, Int(number) + 1) }
      var bytes: [UInt8] = []
      chain.append(load.batch, &pieces, to: &bytes)
      lines += String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init)
      lost += load.lost
      taken.append((load.upTo, load.batch.count, load.lost))
    }
    if commits { commit() }
  }

  /// Everything taken is written.
  func commit() {
    guard let last = taken.last else { return }
    taken = []
    written = lines.count
    lane.commit(upTo: last.upTo)
  }

  /// Some of what was taken is written: of the oldest load the first `share` of 100.
  func commit(share: Int) {
    guard let first = taken.first else { return }
    let records = first.records * share / 100
    if first.lost > 0 || records == first.records {
      taken.removeFirst()
      written += first.records
      lane.commit(upTo: first.upTo)
    } else {
      // Before it is written up to there, it is written up to where it began.
      taken[0].records -= records
      written += records
      lane.commit(upTo: first.upTo - UInt64(first.records - records))
    }
  }

  func count(_ event: String) -> Int { lines.count { $0.contains("\"event\":\"\(event)\"") } }

  var events: [String] { lines.compactMap { StagedWriter.value("event", of: $0) } }

  /// The text or number that a line has under a key.
  static func value(_ key: String, of line: some StringProtocol) -> String? {
    line.firstRange(of: "\"\(key)\":").map { found in
      let rest = line[found.upperBound...]
      return rest.first == "\""
        ? String(rest.dropFirst().prefix { $0 != "\"" }) : String(rest.prefix { $0.isNumber })
    }
  }
}
