// The known word that a mistyped one most likely means.

public enum Suggestion {
  /// The known word with the smallest edit distance, nil when none is near enough to be meant.
  /// Ties go to the first of `known`. Words longer than 64 bytes have no suggestion.
  public static func nearest(to word: String, among known: [String]) -> String? {
    guard word.utf8.count <= 64 else { return nil }
    let scored = known.map { (word: $0, distance: distance(word.lowercased(), $0.lowercased())) }
    guard let best = scored.min(by: { $0.distance < $1.distance }) else { return nil }
    let nearEnough = max(1, max(word.utf8.count, best.word.utf8.count) / 3)
    return best.distance <= nearEnough ? best.word : nil
  }

  /// Insertions, deletions, replacements and swaps of neighbours that turn one text into the other.
  static func distance(_ left: String, _ right: String) -> Int {
    let (left, right) = (Array(left.utf8), Array(right.utf8))
    var twoBack: [Int] = []
    var previous = Array(0...right.count)
    for (row, byte) in left.enumerated() {
      var current = [row + 1]
      for (column, other) in right.enumerated() {
        var best = min(previous[column + 1] + 1, current[column] + 1)
        best = min(best, previous[column] + (byte == other ? 0 : 1))
        if row > 0, column > 0, byte == right[column - 1], left[row - 1] == other {
          best = min(best, twoBack[column - 1] + 1)
        }
        current.append(best)
      }
      (twoBack, previous) = (previous, current)
    }
    return previous[right.count]
  }
}
