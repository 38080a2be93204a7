// When a removal is too large to be believed: the brake's settings, and its judgement of what a cluster would
// lose. Pure numbers; what counts as lost is decided by whoever asks (docs/decisions/100-gates.md).

internal import Snapshots

/// `brake` of the configuration.
public struct Brake: Sendable, Equatable {
  /// Percent of a type's resources that may go, 0 to 100. 100 turns the brake off.
  public var removes: Int
  /// Fewer removals than this never trip it.
  public var atLeast: Int
  /// More removals than this always do.
  public var most: Int
  /// Removals within this time count together.
  public var window: Duration

  public init(
    removes: Int = 20, atLeast: Int = 10, most: Int = 500, window: Duration = .seconds(600)
  ) {
    self.removes = removes
    self.atLeast = atLeast
    self.most = most
    self.window = window
  }

  public static let off = Brake(removes: 100)

  public var isOff: Bool { removes >= 100 }

  /// Why losing this much is too much; nil when it may pass.
  func objection(to losses: Losses) -> String? {
    guard !isOff else { return nil }
    let total = losses.total
    if total > most { return "\(total) resources would go, more than \(most)" }
    guard total >= max(atLeast, 1) else { return nil }
    for (type, loss) in losses.byType.sorted(by: { $0.key < $1.key })
    where loss.count * 100 > removes * loss.of {
      return "\(loss.count) of \(loss.of) \(type) would go, more than \(removes)%"
    }
    return nil
  }
}

/// What one cluster would lose because sources removed it.
struct Losses: Sendable, Equatable {
  struct Loss: Sendable, Equatable {
    var count: Int
    /// How many there were before any of them went.
    var of: Int
  }

  var byType: [TypeName: Loss] = [:]

  /// `15 networking.istio.io/Gateway`, by type.
  var words: [String] { byType.sorted { $0.key < $1.key }.map { "\($0.value.count) \($0.key)" } }

  var total: Int { byType.values.reduce(0) { $0 + $1.count } }
}
