// Which version of a kind an upstream speaks. An istiod lists a kind under one version only and answers every
// other one with an empty, successful list; which one it is depends on its release (1.24 changed most).
//
//   url ─empty─► the others are asked for, too ─one has something─► that one is the url from then on
//                                              └─all are empty────► the kind is empty
//
// Until then an empty answer proves nothing: it is acknowledged and kept to itself. What was found is asked for
// first on the next stream; an istiod that was upgraded meanwhile is found out the same way.
// Source: the "api" generator of istiod.

internal import Snapshots

/// The versions of one kind at one upstream.
struct VersionSearch {
  /// The version that is believed to be spoken.
  private(set) var url: TypeURL
  /// All that may be asked for; `url` alone where the upstream is trusted to know what it has.
  private let urls: [TypeURL]
  /// `url` has had something on this stream.
  private var isFound = false
  /// Versions that were answered with nothing on this stream.
  private var empty: Set<String> = []
  private var asked: Set<String> = []

  enum Step: Equatable {
    /// The answer counts.
    case take
    /// It does not; these are to be asked for.
    case pass(ask: [TypeURL])
  }

  init(_ url: TypeURL, searching: Bool) {
    self.url = url
    let others = searching ? Kinds[url.type]?.versions.filter { $0 != url.version } ?? [] : []
    urls = [url] + others.map { TypeURL(type: url.type, version: $0) }
  }

  /// A new stream begins, with a request for `url`.
  mutating func begin() {
    isFound = false
    empty = []
    asked = [url.text]
  }

  func isOne(_ text: String) -> Bool { url.text == text || urls.contains { $0.text == text } }

  /// What a request for everything asks for now.
  var polled: [TypeURL] { isFound ? [url] : urls.filter { asked.contains($0.text) } }

  /// An answer for `text`, which is one of ours.
  mutating func answered(_ text: String, isEmpty: Bool) -> Step {
    if isFound { return text == url.text ? .take : .pass(ask: []) }
    guard isEmpty else {
      url = urls.first { $0.text == text } ?? url
      isFound = true
      return .take
    }
    empty.insert(text)
    let unasked = urls.filter { !asked.contains($0.text) }
    asked.formUnion(unasked.map(\.text))
    return empty.count == urls.count ? .take : .pass(ask: unasked)
  }
}
