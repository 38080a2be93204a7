// Which address of an upstream comes next. Pure: the order of preference, and who has failed since the last pause.
//
//   following ─failed─► the others, most preferred first ─all failed─► pause ─► all of them, from the first
//       ▲────────────────────answered──────────────────────────────────┘

/// Addresses by their index in configuration, 0 is the most preferred. 0 ≤ current < count.
struct EndpointRota {
  enum Next: Equatable {
    /// Dial `current`.
    case atOnce
    /// Every address has failed: wait, then dial `current`, the first.
    case afterPause
  }

  private let count: Int
  private(set) var current = 0
  /// To be tried before the next pause.
  private var untried: [Int]

  init(count: Int) {
    precondition(count > 0, "an upstream has an address")
    self.count = count
    untried = Array(1..<count)
  }

  /// The present address answered: after it fails, every other one is worth a try.
  mutating func answered() { untried = (0..<count).filter { $0 != current } }

  /// Another address, which has answered on trial, is followed from now on.
  mutating func moved(to index: Int) {
    current = index
    answered()
  }

  mutating func failed() -> Next {
    if untried.isEmpty {
      current = 0
      untried = Array(1..<count)
      return .afterPause
    }
    current = untried.removeFirst()
    return .atOnce
  }
}
