// What sources removed lately: the memory that makes many small removals one large one.
//
// One entry per removed object, for as long as the brake's window, restarts included. What a class lost of it is
// counted as the entries come and go, so that a publication costs what it removes. Time is a parameter; pure.

internal import Policy
internal import Primitives
internal import Snapshots

struct RemovalLedger: Sendable {
  /// Oldest first.
  private(set) var entries: [Removal] = []
  /// Number of the first entry.
  private(set) var first: UInt64 = 0
  private var numbers: [TypeName: [String: UInt64]] = [:]
  /// By class index: entries that count, by type.
  private var counts: [[TypeName: Int]]

  /// Most entries kept between publications. Reason: some 200 bytes each; the oldest are forgotten first, and one
  /// step of any size is judged before.
  private static let entriesMost = 65_536

  init(classes: Int) { counts = Array(repeating: [:], count: classes) }

  /// Goes on with what an earlier process remembered.
  init(_ memory: GateMemory, _ rules: PolicyRules, _ index: inout ClassIndex) {
    self.init(classes: rules.classes.count)
    first = memory.first
    entries = memory.removals
    for (place, entry) in entries.enumerated() where !entry.isVoid {
      numbers[entry.object.type, default: [:]][entry.object.wireName] = first + UInt64(place)
    }
    recount(rules, &index)
  }

  /// The number the next entry gets: everything below has happened.
  var next: UInt64 { first + UInt64(entries.count) }

  /// Notes what a source removed. Returns the classes that lost it.
  mutating func removed(
    _ resource: Resource, at now: Timestamp, _ rules: PolicyRules, _ index: inout ClassIndex
  ) -> [Int] {
    if let known = numbers[resource.type]?[resource.wireName] { void(known, rules, &index) }
    numbers[resource.type, default: [:]][resource.wireName] = next
    let entry = Removal(at: now, object: ObjectFacts(resource))
    entries.append(entry)
    return count(entry.object, by: 1, rules, &index)
  }

  /// Nothing of what a source may no longer let us have is remembered.
  mutating func erase(_ revoked: [Merge.Revocation], _ rules: PolicyRules, _ index: inout ClassIndex) {
    for revocation in revoked {
      for name in revocation.names { returned(name, type: revocation.type, rules, &index) }
      guard !revocation.namespaces.isEmpty else { continue }
      for (place, entry) in entries.enumerated() where !entry.isVoid {
        let object = entry.object
        if object.type == revocation.type, object.source == revocation.source,
          revocation.namespaces.contains(WireName.namespace(of: object.wireName))
        {
          void(first + UInt64(place), rules, &index)
        }
      }
    }
  }

  /// Whether objects of a type were removed lately that do not exist again.
  func remembers(_ type: TypeName) -> Bool { numbers[type]?.isEmpty == false }

  /// Notes that an object exists again.
  mutating func returned(_ name: String, type: TypeName, _ rules: PolicyRules, _ index: inout ClassIndex) {
    guard let number = numbers[type]?[name] else { return }
    void(number, rules, &index)
  }

  /// Forgets what is older than `window`, and more than is kept.
  mutating func trim(
    now: Timestamp, window: Duration, _ rules: PolicyRules, _ index: inout ClassIndex
  ) {
    let oldest = now.milliseconds &- window.inNanoseconds / 1_000_000
    var gone = 0
    while gone < entries.count,
      entries[gone].at.milliseconds < oldest || entries.count - gone > RemovalLedger.entriesMost
    {
      void(first + UInt64(gone), rules, &index)
      gone += 1
    }
    entries.removeFirst(gone)
    first += UInt64(gone)
  }

  /// Counts anew under other rules.
  mutating func recount(_ rules: PolicyRules, _ index: inout ClassIndex) {
    counts = Array(repeating: [:], count: rules.classes.count)
    for entry in entries where !entry.isVoid { _ = count(entry.object, by: 1, rules, &index) }
  }

  /// A removed object, and the classes that lost it.
  struct Loss {
    let object: ObjectFacts
    let classes: [Int]
  }

  /// All of them under the rules that they are counted by.
  func losses(_ index: ClassIndex, of rules: PolicyRules) -> [Loss] {
    var index = index
    return entries.filter { !$0.isVoid }.map { entry in
      let facts = ResourceFacts(entry.object)
      return Loss(
        object: entry.object,
        classes: index.candidates(type: facts.type, namespace: facts.namespace)
          .filter { rules.isVisible(facts, class: $0) })
    }
  }

  /// Names that a class lost, by type, in the entries `mark..<end`.
  func names(
    lostBy candidate: Int, from mark: UInt64, upTo end: UInt64, _ rules: PolicyRules
  ) -> [TypeName: Set<String>] {
    guard counts[candidate].contains(where: { $0.value > 0 }), end > first else { return [:] }
    var names: [TypeName: Set<String>] = [:]
    let from = Int(clamping: mark > first ? mark - first : 0)
    for entry in entries.prefix(Int(clamping: end - first)).dropFirst(from) where !entry.isVoid {
      guard rules.isVisible(ResourceFacts(entry.object), class: candidate) else { continue }
      names[entry.object.type, default: []].insert(entry.object.wireName)
    }
    return names
  }

  /// How many a class lost in all entries, by type.
  func counts(of candidate: Int) -> [TypeName: Int] { counts[candidate].filter { $0.value > 0 } }

  /// True while entries before `mark` are remembered: then counts say too much for who begins at it.
  func remembers(before mark: UInt64) -> Bool { mark > first }

  private mutating func void(_ number: UInt64, _ rules: PolicyRules, _ index: inout ClassIndex) {
    guard number >= first, number < next else { return }
    let place = Int(number - first)
    guard !entries[place].isVoid else { return }
    entries[place].isVoid = true
    let object = entries[place].object
    numbers[object.type]?.removeValue(forKey: object.wireName)
    _ = count(object, by: -1, rules, &index)
  }

  private mutating func count(
    _ object: ObjectFacts, by step: Int, _ rules: PolicyRules, _ index: inout ClassIndex
  ) -> [Int] {
    let facts = ResourceFacts(object)
    let losers = index.candidates(type: object.type, namespace: facts.namespace)
      .filter { rules.isVisible(facts, class: $0) }
    for loser in losers { counts[loser][object.type, default: 0] += step }
    return losers
  }
}

extension ObjectFacts {
  init(_ resource: Resource) {
    self.init(
      type: resource.type, wireName: resource.wireName,
      labels: resource.labels.map { Label(key: $0.key, value: $0.value) }, source: resource.source)
  }
}

extension ResourceFacts {
  init(_ object: ObjectFacts) {
    let namespace = WireName.namespace(of: object.wireName)
    self.init(
      type: object.type, namespace: namespace,
      name: namespace.isEmpty ? object.wireName : String(object.wireName.dropFirst(namespace.count + 1)),
      labels: object.labels.map { ($0.key, $0.value) }, source: object.source)
  }
}
