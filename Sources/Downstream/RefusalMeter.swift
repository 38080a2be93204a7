// How many refusals are told, in the journal and in the audit log: an istiod without rights redials for ever, anybody
// can begin handshakes that fail, and neither may fill a disk. The first few of a kind in a while are told one by
// one; then they are counted, and the count is told with the newest. Metrics count them all.

import Primitives
import SPIFFE

struct RefusalMeter {
  /// Who was turned away, and for what: refusals of one kind.
  enum Kind: Hashable {
    /// A proven identity.
    case identity(String)
    /// Nobody has proved anything: where it came from, and why it was refused.
    case stranger(host: String, reason: String)
    /// Everything else while there are too many kinds.
    case other
  }

  private struct Account {
    var since: Instant
    var told = 0
    var omitted = 0
    /// The newest that was left out.
    var last: ServeNote
  }

  private var accounts: [Kind: Account] = [:]
  /// In the order of their first refusal, so that equal runs write equal logs.
  private var order: [Kind] = []
  private var strangers = 0

  /// Told one by one, per kind and window.
  static let toldMost = 3
  static let window: Duration = .seconds(60)
  /// Kinds remembered. Reason: some 500 bytes each.
  static let kindsMost = 4096
  /// Of those, of strangers. Reason: words and addresses are theirs to choose, and each new kind is a line or three.
  static let strangersMost = 64

  /// How many of the same were left out before this one; nil when this one is to be left out, too.
  mutating func admit(_ note: ServeNote, of kind: Kind, at now: Instant) -> Int? {
    let kind = place(of: kind)
    guard var account = accounts[kind] else {
      accounts[kind] = Account(since: now, told: 1, last: note)
      order.append(kind)
      if case .stranger = kind { strangers += 1 }
      return 0
    }
    defer { accounts[kind] = account }
    if account.told < RefusalMeter.toldMost {
      account.told += 1
      return 0
    }
    account.omitted += 1
    account.last = note
    return nil
  }

  /// The newest of every kind whose window is over, and how many like it were left out. `all` at the end.
  mutating func settle(at now: Instant, all: Bool = false) -> [(note: ServeNote, omitted: Int)] {
    var found: [(note: ServeNote, omitted: Int)] = []
    var kept: [Kind] = []
    for kind in order {
      guard let account = accounts[kind] else { continue }
      guard all || now - account.since >= RefusalMeter.window else {
        kept.append(kind)
        continue
      }
      accounts.removeValue(forKey: kind)
      if case .stranger = kind { strangers -= 1 }
      if account.omitted > 0 { found.append((account.last, account.omitted)) }
    }
    order = kept
    return found
  }

  private func place(of kind: Kind) -> Kind {
    guard accounts[kind] == nil else { return kind }
    switch kind {
    case .stranger where strangers >= RefusalMeter.strangersMost: return .other
    case .identity where accounts.count >= RefusalMeter.kindsMost: return .other
    case .identity, .stranger, .other: return kind
    }
  }
}

extension ServeNote {
  /// Nil: it happens as often as somebody with rights makes it happen.
  var refusal: RefusalMeter.Kind? {
    switch self {
    case .handshakeFailed(let address, let reason):
      .stranger(host: ServeNote.host(of: address), reason: String(reason.prefix(ServeNote.reasonMost)))
    case .refused(let id, _, _): .identity(id.description)
    case .sinkFailed(let address, let reason):
      .stranger(host: address, reason: String(reason.prefix(ServeNote.reasonMost)))
    case .connected, .disconnected, .ended, .rejected, .brokeProtocol: nil
    }
  }

  /// Characters of a reason that tell kinds apart.
  private static let reasonMost = 120

  /// The address without its port, which is another one each time.
  private static func host(of address: String) -> String {
    address.lastIndex(of: ":").map { String(address[..<$0]) } ?? address
  }
}
