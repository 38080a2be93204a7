// Keeps the authority of one upstream without an SVID fresh: looks at its file every second, on a worker, and
// hands on what changed. A bad new file changes nothing but the journal: the last good one goes on.

import Identity
import Primitives
import Ring
import TLS

final class AuthorityWatch: TimerHandler {
  private enum Finding: Sendable {
    case unchanged
    case loaded([Certificate], fingerprint: String)
    case failed(IdentityError, fingerprint: String)
  }

  /// How often the file is looked at. Reason: as the files of our own identity.
  private static let interval: Duration = .seconds(1)

  private let file: AuthorityFile
  private let loop: EventLoop
  private let worker: any Worker
  private let findings: Mailbox<Finding>
  private let adopt: ([Certificate]) -> Void
  private let failed: (String) -> Void
  private var fingerprint: String?
  private var looking = false
  private var isStopped = false
  private var timer = TimerID.none

  init(
    _ file: AuthorityFile, loop: EventLoop, worker: any Worker, adopt: @escaping ([Certificate]) -> Void,
    failed: @escaping (String) -> Void
  ) {
    self.file = file
    self.loop = loop
    self.worker = worker
    self.adopt = adopt
    self.failed = failed
    findings = Mailbox(capacity: 16, wake: loop.waker)
  }

  func start() { look() }

  func stop() {
    isStopped = true
    loop.cancel(timer)
  }

  func timerFired(_ id: TimerID, tag: Int) { look() }

  private func look() {
    guard !looking, !isStopped else { return }
    let (findings, file, known) = (findings, file, fingerprint)
    looking = worker.submit { findings.push(AuthorityWatch.examine(file, known: known)) }
    // A worker that is busy is asked again a second later.
    if !looking { again() }
  }

  private func again() {
    loop.cancel(timer)
    guard !isStopped else { return }
    timer = loop.schedule(at: loop.now + AuthorityWatch.interval, self, tag: 0)
  }

  private static func examine(_ file: AuthorityFile, known: String?) -> Finding {
    let fingerprint = file.fingerprint()
    guard fingerprint != known else { return .unchanged }
    do throws(IdentityError) {
      return .loaded(try file.load(), fingerprint: fingerprint)
    } catch {
      return .failed(error, fingerprint: fingerprint)
    }
  }

  /// Call when the loop was woken.
  func pickUp() {
    for finding in findings.drain() where !isStopped {
      looking = false
      again()
      switch finding {
      case .unchanged: break
      case .loaded(let certificates, let fingerprint):
        self.fingerprint = fingerprint
        adopt(certificates)
      case .failed(let error, let fingerprint):
        self.fingerprint = fingerprint
        failed(error.description)
      }
    }
  }
}
