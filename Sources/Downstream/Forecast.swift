// What a push says to streams that wait for newer content only, known before any of them is touched: the newer
// content of each changed type, whole. It is a forecast and not more: a stream makes its response itself, and one that
// turns out otherwise gets a record of its own.

import Audit
import Gates
import Primitives
import Ring
import Snapshots

/// The responses that all streams of one class and interest will be given.
final class Forecast {
  struct Item {
    let typeURL: String
    let version: String
    /// What their records say.
    let what: PieceNumbers.Name
  }

  let items: [Item]
  /// Number of the view they will be made from.
  private let view: UInt64

  init(_ items: [Item], view: UInt64) {
    self.items = items
    self.view = view
  }

  func holds(_ response: StreamResponse) -> Bool {
    response.view == view
      && items.contains { $0.version == response.version && $0.typeURL == response.typeURL }
  }
}

/// Forecasts of one step from generation to generation. Each is made once, however many streams it is for.
struct ForecastSearch {
  private struct Key: Hashable {
    let place: Int
    let interest: Int
  }

  private let previous: Generation
  private let next: Generation
  private let changed: [TypeName]
  private var known: [Key: Forecast?] = [:]
  /// Streams side by side are mostly alike.
  private var latest: (key: Key, forecast: Forecast?)?

  init(from previous: Generation, to next: Generation) {
    self.previous = previous
    self.next = next
    // What a gate keeps or lets pass can differ in more; such a response gets its record when it is made.
    changed = next.snapshot.collections.compactMap { type, collection in
      previous.snapshot.collections[type]?.version == collection.version ? nil : type
    }.sorted()
  }

  /// Nil when a stream of this class and interest will be given nothing that can be told.
  mutating func forecast(
    place: Int, interest: Int, _ interests: Interests, name: (String, String, View) -> PieceNumbers.Name
  ) -> Forecast? {
    let key = Key(place: place, interest: interest)
    if let latest, latest.key == key { return latest.forecast }
    let forecast: Forecast?
    if let found = known[key] {
      forecast = found
    } else {
      forecast = make(key, interests, name)
      known[key] = forecast
    }
    latest = (key, forecast)
    return forecast
  }

  private func make(
    _ key: Key, _ interests: Interests, _ name: (String, String, View) -> PieceNumbers.Name
  ) -> Forecast? {
    guard key.place < previous.views.count, key.place < next.views.count else { return nil }
    let (old, new) = (previous.views[key.place], next.views[key.place])
    var items: [Forecast.Item] = []
    for type in changed {
      guard case .ready(let before) = old.state(of: type), case .ready(let after) = new.state(of: type),
        before.version != after.version
      else { continue }
      let removed = Collection.difference(from: before, to: after).removed
      // Removals of several causes are told one after the other.
      if Withdrawals(removed, cause: { new.removalCause(of: $0, type: type) }).isMixed { return nil }
      let version = after.versionText
      for typeURL in interests.urls(of: type, key.interest) {
        items.append(Forecast.Item(typeURL: typeURL, version: version, what: name(typeURL, version, new)))
      }
    }
    return items.isEmpty ? nil : Forecast(items, view: new.number)
  }
}

/// Responses that have their records and wait for them to be written, of one step.
struct Announcement {
  struct Entry {
    let seat: Int
    let forecast: Forecast
    /// Number of its last record within the loop.
    let upTo: UInt64
  }

  /// What the clients have.
  let base: Generation
  /// What they will be given.
  let generation: Generation
  /// When it reached the loop.
  let at: Instant
  private(set) var entries: [Entry]
  private var taken = 0

  init(from base: Generation, to generation: Generation, at: Instant, room: Int) {
    self.base = base
    self.generation = generation
    self.at = at
    entries = []
    entries.reserveCapacity(room)
  }

  var isEmpty: Bool { taken == entries.count }

  mutating func append(_ entry: Entry) { entries.append(entry) }

  /// The next one whose record is among the first `written`.
  mutating func takeNext(written: UInt64) -> Entry? {
    guard taken < entries.count, entries[taken].upTo <= written else { return nil }
    defer { taken += 1 }
    return entries[taken]
  }

  /// Whose turn comes some entries later.
  var approaching: Int? {
    let ahead = taken + EventLoop.lookahead
    return ahead < entries.count ? entries[ahead].seat : nil
  }

  /// Takes out those whose record is not among the first `kept`.
  mutating func removeAll(after kept: UInt64) -> [Int] {
    let first = entries[taken...].firstIndex { $0.upTo > kept } ?? entries.count
    defer { entries.removeSubrange(first...) }
    return entries[first...].map(\.seat)
  }
}
