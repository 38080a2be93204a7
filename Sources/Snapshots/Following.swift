// What one upstream has said so far, type by type: the last good set of each, kept over lost streams, and
// which types it has answered at all. The rules every dialect's follower shares:
//
// - What was set aside keeps its last good version; where something could not even be named, nothing is
//   taken as gone.
// - An upstream that does not say why it turned empty is faulty until the operator decides otherwise.
// - A source is complete when every type has been answered, or when `patience` is over.

public import Primitives

/// The content of one upstream as its follower holds it. Types are known by their index, from 0.
public struct Following: Sendable {
  private struct Topic {
    let type: TypeName
    /// The last good set.
    var held = Collection.empty
    var isAnswered = false
    var isAnsweredOnStream = false
    /// An operator wants the next answer, however empty it is.
    var isAdopting = false
  }

  /// What a response does to what is held.
  public struct Change: Sendable {
    /// New or with other content.
    public let upserts: [Resource]
    /// Wire names that are held and go.
    public let removals: [String]
    /// Nothing stays and nothing came, not even what holds the same.
    fileprivate let leavesNothing: Bool

    public var isEmpty: Bool { upserts.isEmpty && removals.isEmpty }
  }

  /// How long types may stay silent before the source counts as complete without them. Reason: xDS
  /// advises 15 s before concluding that something does not exist.
  public static let patience: Duration = .seconds(15)

  private let source: String
  private var topics: [Topic]
  private var firstAnswerAt: Instant?
  private var isComplete = false
  private var adoptsNextStream = false

  /// Nothing is held yet. Each type once.
  public init(source: String, types: [TypeName]) {
    precondition(Set(types).count == types.count, "a kind is asked for twice")
    self.source = source
    topics = types.map { Topic(type: $0) }
  }

  /// A new stream begins; `held` is what is being served of this source.
  public mutating func begin(held: [TypeName: Collection]) {
    for index in topics.indices {
      topics[index].held = held[topics[index].type] ?? .empty
      topics[index].isAnsweredOnStream = false
      topics[index].isAdopting = adoptsNextStream
    }
    adoptsNextStream = false
  }

  /// Takes what the next stream answers first, however empty it is: an operator's word.
  public mutating func adoptNextStream() { adoptsNextStream = true }

  /// The last good sets.
  public var held: [TypeName: Collection] {
    Dictionary(uniqueKeysWithValues: topics.map { ($0.type, $0.held) })
  }

  public func held(_ index: Int) -> Collection { topics[index].held }

  public func isAnswered(_ index: Int) -> Bool { topics[index].isAnswered }

  public func isAnsweredOnStream(_ index: Int) -> Bool { topics[index].isAnsweredOnStream }

  /// What a response changes. `isWhole`: what it does not name is gone.
  public func change(_ reading: ResponseReading, isWhole: Bool, _ index: Int) -> Change {
    let held = topics[index].held
    let removals = isWhole ? absent(from: reading, held) : reading.removed.filter { held.contains($0) }
    let upserts = reading.admitted.filter { held[$0.wireName]?.version != $0.version }
    return Change(
      upserts: upserts, removals: removals,
      leavesNothing: !held.isEmpty && removals.count == held.count && reading.admitted.isEmpty)
  }

  private func absent(from reading: ResponseReading, _ held: Collection) -> [String] {
    guard !reading.hasUnnamed else { return [] }
    let present = Set(reading.admitted.map(\.wireName)).union(reading.rejectedNames)
    return held.names.filter { !present.contains($0) }
  }

  /// Whether an upstream that cannot say why answers with nothing, at the beginning of a stream or for
  /// all it had.
  public func isSuspicious(_ change: Change, _ index: Int) -> Bool {
    guard change.leavesNothing, !topics[index].isAdopting else { return false }
    let others = topics.indices.contains { $0 != index && !topics[$0].held.isEmpty }
    return !topics[index].isAnsweredOnStream || !others
  }

  public mutating func apply(_ change: Change, _ index: Int) {
    topics[index].held = topics[index].held.applying(upserts: change.upserts, removals: change.removals)
  }

  /// Notes that a type was answered on this stream. True for the first answer since the beginning.
  public mutating func noteAnswer(_ index: Int, now: Instant) -> Bool {
    let isFirst = !topics[index].isAnswered
    topics[index].isAnswered = true
    topics[index].isAnsweredOnStream = true
    topics[index].isAdopting = false
    if firstAnswerAt == nil { firstAnswerAt = now }
    return isFirst
  }

  /// Notes that the upstream speaks, although it is not clear yet what was answered: from then on there is a deadline.
  public mutating func noteWord(now: Instant) { if firstAnswerAt == nil { firstAnswerAt = now } }

  /// The word that the source has delivered, once, after the last type has been answered.
  public mutating func completed() -> [SourceUpdate] {
    guard !isComplete, topics.allSatisfy(\.isAnswered) else { return [] }
    isComplete = true
    return [SourceUpdate(source: source, kind: .complete)]
  }

  /// When `deadlinePassed` should be called; nil when nothing waits for time.
  public func nextDeadline() -> Instant? {
    isComplete ? nil : firstAnswerAt.map { $0 + Following.patience }
  }

  /// After `patience` the source is complete without the types that stay silent.
  public mutating func deadlinePassed(now: Instant) -> [SourceUpdate] {
    guard let deadline = nextDeadline(), deadline <= now else { return [] }
    isComplete = true
    return [SourceUpdate(source: source, kind: .complete)]
  }
}
