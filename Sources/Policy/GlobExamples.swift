// Texts that stand for all texts a glob matches, as other globs see them: what makes VisibilitySearch exact.
//
// All globs together are one nondeterministic automaton whose places are positions in the patterns. Every
// reachable set of places is visited once, breadth first, so the work is bounded and examples are short.

struct GlobExamples {
  /// The first is the glob whose texts are wanted; the others only look at them.
  private let patterns: [[UInt8]]
  private let alphabet: [UInt8]
  private var work = 0

  /// Places stepped through. Reason: about a second at worst; a policy that people write needs thousands.
  private static let workMax = 2_000_000

  /// A position in a pattern; `offset` is the count of its bytes when the pattern has matched.
  private struct Place: Hashable, Comparable {
    let pattern: Int
    let offset: Int

    static func < (left: Place, right: Place) -> Bool {
      (left.pattern, left.offset) < (right.pattern, right.offset)
    }
  }

  /// `globs`: at least one.
  init(_ globs: [GlobPattern]) {
    patterns = globs.map { Array($0.text.utf8) }
    let named = Set(patterns.joined()).subtracting([UInt8(ascii: "*")])
    // One byte that no pattern names stands for all of them.
    let other = "xyzabcdefghijklmnopqrstuvw0123456789".utf8.first { !named.contains($0) }
    alphabet = named.sorted() + (other.map { [$0] } ?? [])
  }

  /// For every combination of globs that some text matched by the first one satisfies, one such text.
  /// Without `emptyText` only texts of at least one byte count. Nil when it would take too long.
  mutating func all(emptyText: Bool) -> [String]? {
    var known: Set<[Place]> = []
    var verdicts: Set<[Int]> = []
    var examples: [String] = []
    let start = closed(patterns.indices.map { Place(pattern: $0, offset: 0) })
    var frontier = emptyText ? [(places: start, text: [UInt8]())] : successors(of: start, [])
    while !frontier.isEmpty {
      var next: [(places: [Place], text: [UInt8])] = []
      for (places, text) in frontier where known.insert(places).inserted {
        guard work <= GlobExamples.workMax else { return nil }
        let verdict = places.filter { $0.offset == patterns[$0.pattern].count }.map(\.pattern)
        if verdict.first == 0, verdicts.insert(verdict).inserted {
          examples.append(String(decoding: text, as: UTF8.self))
        }
        next += successors(of: places, text)
      }
      frontier = next
    }
    return examples
  }

  /// One for each byte after which the first glob can still match.
  private mutating func successors(
    of places: [Place], _ text: [UInt8]
  ) -> [(places: [Place], text: [UInt8])] {
    alphabet.compactMap { byte in
      work += places.count
      let next = closed(places.compactMap { step($0, byte) })
      return next.first?.pattern == 0 ? (next, text + [byte]) : nil
    }
  }

  private func step(_ place: Place, _ byte: UInt8) -> Place? {
    let pattern = patterns[place.pattern]
    guard place.offset < pattern.count else { return nil }
    if pattern[place.offset] == UInt8(ascii: "*") { return byte == UInt8(ascii: "/") ? nil : place }
    return pattern[place.offset] == byte ? Place(pattern: place.pattern, offset: place.offset + 1) : nil
  }

  /// Sorted, each once, and with the places that are reached when a star stands for nothing.
  private func closed(_ places: [Place]) -> [Place] {
    var closed = Set(places)
    for place in places {
      let pattern = patterns[place.pattern]
      var offset = place.offset
      while offset < pattern.count, pattern[offset] == UInt8(ascii: "*") {
        offset += 1
        closed.insert(Place(pattern: place.pattern, offset: offset))
      }
    }
    return closed.sorted()
  }
}
