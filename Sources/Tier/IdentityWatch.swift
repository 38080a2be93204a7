// Keeps this relay's credentials fresh: looks at the files every second and publishes what changed.
//
// Looking means comparing dates and sizes of a handful of files on a worker; reading and verifying happens
// only after a change. A bad new file changes nothing but the status: the last good identity goes on.

import Identity
import Primitives
import Ring
import SPIFFE
import Trust

final class IdentityWatch: TimerHandler {
  private enum Finding: Sendable {
    case unchanged
    case loaded(Credentials, fingerprint: String)
    case failed(IdentityError, fingerprint: String)
  }

  /// How often the files are looked at. Reason: rotation halfway through a life of minutes to hours.
  private static let interval: Duration = .seconds(1)

  private var plan: TierPlan.IdentityPlan
  private let loop: EventLoop
  private let worker: any Worker
  private let findings: Mailbox<Finding>
  private let adopt: (Credentials) -> Void
  private let report: (TierEvent) -> Void
  private var fingerprint: String?
  private var generation: UInt64 = 0
  private var looking = false
  private var timer = TimerID.none
  private(set) var credentials: Credentials?
  /// Why the newest files are not in use; nil while they are.
  private(set) var error: String?

  init(
    _ plan: TierPlan.IdentityPlan, loop: EventLoop, worker: any Worker,
    adopt: @escaping (Credentials) -> Void,
    report: @escaping (TierEvent) -> Void
  ) {
    self.plan = plan
    self.loop = loop
    self.worker = worker
    self.adopt = adopt
    self.report = report
    findings = Mailbox(capacity: 16, wake: loop.waker)
  }

  func start() {
    switch plan {
    case .fixed(let credentials): loaded(credentials, "fixed")
    case .files: look()
    }
  }

  /// Looks elsewhere from now on. What is in use stays until the new files are found sound.
  func follow(_ next: TierPlan.IdentityPlan) {
    plan = next
    fingerprint = nil
    look()
  }

  func timerFired(_ id: TimerID, tag: Int) { look() }

  private func look() {
    guard !looking, case .files(let files) = plan else { return }
    let (findings, known, next, now) = (
      findings, fingerprint, generation + 1, loop.wallClock
    )
    looking = worker.submit {
      findings.push(IdentityWatch.examine(files, known: known, generation: next, now: now))
    }
    // A worker that is busy is asked again a second later.
    if !looking { again() }
  }

  private func again() {
    loop.cancel(timer)
    timer = loop.schedule(at: loop.now + IdentityWatch.interval, self, tag: 0)
  }

  private static func examine(
    _ files: FileIdentity, known: String?, generation: UInt64, now: Timestamp
  ) -> Finding {
    let fingerprint = files.fingerprint()
    guard fingerprint != known else { return .unchanged }
    do throws(IdentityError) {
      return .loaded(try files.load(at: now, generation: generation), fingerprint: fingerprint)
    } catch {
      return .failed(error, fingerprint: fingerprint)
    }
  }

  /// Call when the loop was woken.
  func pickUp() {
    for finding in findings.drain() {
      looking = false
      again()
      switch finding {
      case .unchanged: break
      case .loaded(let credentials, let fingerprint): loaded(credentials, fingerprint)
      case .failed(let error, let fingerprint): failed(error, fingerprint)
      }
    }
  }

  private func loaded(_ credentials: Credentials, _ fingerprint: String) {
    self.fingerprint = fingerprint
    self.credentials = credentials
    generation = credentials.generation
    error = nil
    report(
      TierEvent(
        .notice, "identity loaded",
        [
          .init("spiffe_id", credentials.svid.id.description),
          .init("expires_at", credentials.svid.notAfter.rfc3339),
        ]))
    adopt(credentials)
  }

  private func failed(_ error: IdentityError, _ fingerprint: String) {
    // Without any identity every second counts, and time itself may cure it (a certificate of the future).
    self.fingerprint = credentials == nil ? nil : fingerprint
    guard self.error != error.description else { return }
    self.error = error.description
    let consequence =
      credentials == nil ? "no connection can be made or accepted" : "the last good one stays in use"
    report(
      TierEvent(.error, "identity files are not usable: \(consequence)", [.init("reason", error.description)])
    )
  }
}

extension Credentials {
  /// How long this host lasts if nothing renews its SVID and its own trust domain's bundle.
  var survivesUntil: Timestamp {
    let bundle = bundles[svid.id.trustDomain]
    return min(svid.notAfter, bundle?.notAfter ?? svid.notAfter)
  }
}
