// The only pattern language of policy and configuration files for names: `*` and nothing else.

/// A text in which `*` stands for any run of bytes, possibly empty, without `/`. Everything else is
/// itself; case matters.
public struct GlobPattern: Hashable, Comparable, Sendable, CustomStringConvertible {
  public let text: String
  private let form: Form

  /// Most patterns are one of the first three, which need no search.
  private enum Form: Hashable {
    case exact
    case prefix(String)
    case suffix(String)
    case general
  }

  public init(_ text: String) {
    self.text = text
    let stars = text.utf8.count { $0 == GlobPattern.star }
    form =
      if stars == 0 {
        .exact
      } else if stars == 1, text.hasSuffix("*") {
        .prefix(String(text.dropLast()))
      } else if stars == 1, text.hasPrefix("*") {
        .suffix(String(text.dropFirst()))
      } else {
        .general
      }
  }

  public var isExact: Bool { form == .exact }

  public var description: String { text }

  public static func < (left: GlobPattern, right: GlobPattern) -> Bool {
    left.text.utf8.lexicographicallyPrecedes(right.text.utf8)
  }

  /// Linear in the lengths, except for patterns with several stars: their product at worst.
  public func matches(_ subject: String) -> Bool {
    let (bytes, pattern) = (subject.utf8, text.utf8)
    switch form {
    case .exact: return bytes.elementsEqual(pattern)
    case .prefix(let prefix):
      return bytes.starts(with: prefix.utf8)
        && !bytes.dropFirst(prefix.utf8.count).contains(GlobPattern.slash)
    case .suffix(let suffix):
      let run = bytes.count - suffix.utf8.count
      return run >= 0 && bytes.dropFirst(run).elementsEqual(suffix.utf8)
        && !bytes.prefix(run).contains(GlobPattern.slash)
    case .general: return search(bytes, pattern)
    }
  }

  /// Takes the shortest run for each star and lengthens only the last one: what an earlier star could
  /// do, a later one can do too, because a run never crosses a slash and neither does the text between.
  private func search(_ bytes: String.UTF8View, _ pattern: String.UTF8View) -> Bool {
    var (byte, place) = (bytes.startIndex, pattern.startIndex)
    var retry: (byte: String.Index, place: String.Index)?
    while byte < bytes.endIndex {
      if place < pattern.endIndex, pattern[place] == GlobPattern.star {
        place = pattern.index(after: place)
        retry = (byte, place)
      } else if place < pattern.endIndex, pattern[place] == bytes[byte] {
        byte = bytes.index(after: byte)
        place = pattern.index(after: place)
      } else if let last = retry, bytes[last.byte] != GlobPattern.slash {
        byte = bytes.index(after: last.byte)
        place = last.place
        retry = (byte, place)
      } else {
        return false
      }
    }
    return pattern[place...].allSatisfy { $0 == GlobPattern.star }
  }

  private static let star = UInt8(ascii: "*")
  private static let slash = UInt8(ascii: "/")
}

/// Patterns of which any may match.
public struct GlobList: Hashable, Sendable {
  /// Sorted, each once; never empty.
  public let patterns: [GlobPattern]
  private let exact: Set<String>
  private let others: [GlobPattern]
  /// Of types: all of them, which is what most rules say.
  let isEveryType: Bool

  public init(_ patterns: [GlobPattern]) {
    precondition(!patterns.isEmpty, "a list without patterns would match nothing, which no rule may say")
    self.patterns = Set(patterns).sorted()
    exact = Set(patterns.filter(\.isExact).map(\.text))
    others = self.patterns.filter { !$0.isExact }
    isEveryType = patterns.contains { $0.text == "*/*" }
  }

  public func matches(_ subject: String) -> Bool {
    // Sets compare by canonical equivalence, under which a foreign letter can equal an ASCII one.
    if let found = exact.firstIndex(of: subject), exact[found].utf8.elementsEqual(subject.utf8) {
      return true
    }
    return others.contains { $0.matches(subject) }
  }
}
