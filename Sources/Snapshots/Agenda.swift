// Which subscriptions of a stream have something to do, and when. Every subscription is a protocol of its
// own; what they share is being looked at in the order of their first requests, and only when something
// changed: a request, a view, time.

public import Primitives

/// The subscriptions of one stream by name. Indices are stable and count from 0.
public struct Agenda: Sendable {
  private struct Entry {
    let name: String
    /// May have something to send.
    var isDue = true
    /// Has something to send that must wait until then.
    var waitsUntil: Instant?
    /// Only newer content can give it something to send.
    var isAtRest = false
  }

  private var indexByName: [String: Int] = [:]
  private var entries: [Entry] = []
  /// Those that are not at rest.
  private var restless = 0

  public init() {}

  public var indices: Range<Int> { entries.indices }

  /// The name a subscription was added under.
  public func name(_ index: Int) -> String { entries[index].name }

  public func index(of name: String) -> Int? { indexByName[name] }

  /// Adds a subscription, due at once. Its index is the number of those before it.
  public mutating func add(_ name: String) -> Int {
    precondition(indexByName[name] == nil, "a subscription is added once")
    indexByName[name] = entries.count
    entries.append(Entry(name: name))
    restless += 1
    return entries.count - 1
  }

  public func isDue(_ index: Int) -> Bool { entries[index].isDue }

  public mutating func markDue(_ index: Int) {
    entries[index].isDue = true
    rest(index, false)
  }

  /// There is another view.
  public mutating func markAllDue() {
    for index in entries.indices { entries[index].isDue = true }
  }

  /// Notes what a subscription answered when it was asked. After a response it is asked again. `isAtRest`: only newer
  /// content can make it answer more than nothing.
  public mutating func note(_ step: Step, _ index: Int, isAtRest: Bool = false) {
    switch step {
    case .send:
      entries[index].waitsUntil = nil
      rest(index, false)
    case .wait(let until):
      entries[index].waitsUntil = until
      entries[index].isDue = false
      rest(index, false)
    case .nothing:
      entries[index].waitsUntil = nil
      entries[index].isDue = false
      rest(index, isAtRest)
    }
  }

  /// All subscriptions are, and there is one.
  public var isAtRest: Bool { restless == 0 && !entries.isEmpty }

  private mutating func rest(_ index: Int, _ isAtRest: Bool) {
    guard entries[index].isAtRest != isAtRest else { return }
    entries[index].isAtRest = isAtRest
    restless += isAtRest ? -1 : 1
  }

  /// When `deadlinePassed` should be called; nil when nothing waits for time alone.
  public func nextDeadline() -> Instant? { entries.compactMap(\.waitsUntil).min() }

  /// What waited until now is due.
  public mutating func deadlinePassed(now: Instant) {
    for index in entries.indices {
      if let until = entries[index].waitsUntil, until <= now { entries[index].isDue = true }
    }
  }
}
