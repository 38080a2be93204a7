// How long the identity lasts, said early: while an SVID grows old and nobody renews it, while this host would not
// outlast its agent and its authority for as long as the operator wants, and while the clock cannot be relied on.
//
// A state machine without a clock of its own: looked at every second, it answers with lines for the journal, each
// once, and with the sentences that status shows while they are true.

import Primitives
import SPIFFE
import Trust

struct IdentityHealth {
  /// How much of an SVID's life may pass before something is said. SPIRE renews at half of it.
  private static let stages: [(percent: Int64, level: TierEvent.Level)] = [
    (50, .notice), (75, .warning), (90, .error), (100, .error),
  ]

  /// `offlineGoal`; nil: nothing is asked for.
  var goal: Duration?
  /// Whether the kernel says that somebody keeps the clock right; nil: it does not say.
  private(set) var isSynchronised: Bool?
  private var watched: [[UInt8]] = []
  /// The last of `stages` that was told of the SVID in use.
  private var told: Int64 = 0
  private(set) var isGoalMet: Bool?
  private var missed: String?
  private var unsynchronised: String?
  private var jumped: String?

  init(goal: Duration?) { self.goal = goal }

  /// What is true now.
  var warnings: [String] { [missed, unsynchronised, jumped].compactMap { $0 } }

  /// - Parameter jump: how far the wall clock is from what is believed; nil while it is believed.
  mutating func look(_ credentials: Credentials?, at now: Timestamp, jump: Duration?) -> [TierEvent] {
    var events: [TierEvent] = []
    if let credentials {
      events += age(of: credentials.svid, at: now)
      events += goal(credentials, at: now)
    }
    return events + clock(jump: jump)
  }

  /// - Parameter synchronised: nil: the kernel does not tell.
  mutating func note(synchronised: Bool?) -> [TierEvent] {
    guard synchronised != isSynchronised else { return [] }
    let wasBad = isSynchronised == false
    isSynchronised = synchronised
    guard synchronised == false else {
      unsynchronised = nil
      return wasBad && synchronised == true ? [TierEvent(.notice, "the clock is synchronised again")] : []
    }
    let text = "the clock of this host is not synchronised: certificates are judged by it"
    unsynchronised = text
    return [
      TierEvent(.warning, text, [.init("fix", "start systemd-timesyncd, chrony or another NTP client")])
    ]
  }

  // MARK: parts

  private mutating func age(of svid: X509SVID, at now: Timestamp) -> [TierEvent] {
    if svid.chain != watched {
      watched = svid.chain
      told = 0
    }
    let life = svid.notAfter.milliseconds - svid.notBefore.milliseconds
    let lived = now.milliseconds - svid.notBefore.milliseconds
    guard life > 0, let stage = IdentityHealth.stages.last(where: { lived >= life / 100 * $0.percent }),
      stage.percent > told
    else { return [] }
    told = stage.percent
    let message =
      stage.percent == 100
      ? "our own SVID has expired: connections go on, new ones are refused by the peers"
      : "our own SVID has used \(stage.percent) % of its life and was not renewed"
    return [
      TierEvent(
        stage.level, message,
        [.init("spiffe_id", svid.id.description), .init("expires_at", svid.notAfter.rfc3339)])
    ]
  }

  private mutating func goal(_ credentials: Credentials, at now: Timestamp) -> [TierEvent] {
    guard let goal else {
      (isGoalMet, missed) = (nil, nil)
      return []
    }
    let survives = credentials.survivesUntil
    let isMet = survives.milliseconds - now.milliseconds >= goal.inNanoseconds / 1_000_000
    let was = isGoalMet
    isGoalMet = isMet
    guard !isMet else {
      missed = nil
      return was == false ? [TierEvent(.notice, "the identity lasts for the offline goal again")] : []
    }
    let text =
      "\(IdentityHealth.shortest(credentials)) \(survives.rfc3339), sooner than the offline goal of "
      + "\(IdentityHealth.text(goal)) from now"
    missed = text
    return was == false ? [] : [TierEvent(.warning, text)]
  }

  /// What of it ends first, as the beginning of a sentence.
  private static func shortest(_ credentials: Credentials) -> String {
    if credentials.withdrawnAt != nil { return "the SVID was taken back at" }
    return credentials.svid.notAfter <= credentials.survivesUntil
      ? "the SVID ends at" : "the bundle of our trust domain ends at"
  }

  private mutating func clock(jump: Duration?) -> [TierEvent] {
    guard let jump else {
      guard jumped != nil else { return [] }
      jumped = nil
      return [TierEvent(.notice, "the wall clock is believed again")]
    }
    guard jumped == nil else { return [] }
    let seconds = jump.components.seconds
    let text =
      "the wall clock jumped by \(seconds) s; until it has stayed there for a minute nothing is judged by it"
    jumped = text
    return [TierEvent(.warning, text)]
  }

  private static func text(_ goal: Duration) -> String {
    let seconds = goal.components.seconds
    return seconds % 3600 == 0 ? "\(seconds / 3600)h" : seconds % 60 == 0 ? "\(seconds / 60)m" : "\(seconds)s"
  }
}
