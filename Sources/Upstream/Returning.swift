// The way back to a more preferred address, made before the present one is left.
//
//   following ─after a while─► trial: the same subscription once more, at the preferred address
//       ▲                        │ everything answered        │ refused, older, silent, not there
//       │                        ▼                            ▼
//       └── the stream that counts moves over          (a longer while)
//
// The trial follows with a copy of what is held and hands nothing up, so an address that is not fit costs
// nobody anything: what it would have answered is judged and forgotten. One that is fit keeps its connection.

import GRPC
import Primitives
import Ring
import Snapshots
import Transport

/// A subscription on probation.
struct Trial {
  let index: Int
  /// It is the present address, and all that is sought are newer certificates.
  let isRenewal: Bool
  let attempt: Attempt
  var follower: Follower
  let deadline: TimerID
}

extension Subscription {
  func planReturn() {
    loop.cancel(goBack)
    let wait = pacing.wait(&generator)
    goBack = loop.schedule(at: loop.now + wait, self, tag: Tag.goBack.rawValue)
  }

  /// Tries the most preferred address.
  func beginTrial() {
    guard case .following = state, trial == nil, rota.current > 0 else { return }
    tryAddress(0)
  }

  private func tryAddress(_ index: Int) {
    guard index < rota.current else { return planReturn() }
    begin(index, isRenewal: false)
  }

  func begin(_ index: Int, isRenewal: Bool) {
    guard let attempt = makeAttempt(index) else { return isRenewal ? planRenewal() : planReturn() }
    // As long as an address that counts is given, name and handshake included.
    let deadline = loop.schedule(
      at: loop.now + Subscription.progressMost * 2, self, tag: Tag.trialOver.rawValue)
    trial = Trial(
      index: index, isRenewal: isRenewal, attempt: attempt, follower: follower, deadline: deadline)
    attempt.start()
  }

  func heardOnTrial(_ event: Attempt.Event, from attempt: Attempt) {
    guard let trial, trial.attempt === attempt else { return }
    switch event {
    case .ready:
      if trial.isRenewal, let old = current?.endsAt, let new = attempt.endsAt, new <= old {
        return trialIsOver("its certificate is not newer")
      }
      let requests = self.trial?.follower.resume(upstream: attempt.endpoint.description, now: loop.now) ?? []
      if !attempt.open(path: trial.follower.path, requests: requests) { trialIsOver("it takes no stream") }
    case .received(let message): receivedOnTrial(message)
    case .ended(let status):
      let (_, requests) =
        self.trial?.follower.streamEnded(
          code: status.code.rawValue, message: status.message, now: loop.now) ?? ([], nil)
      if let requests, attempt.open(path: trial.follower.path, requests: requests) { return }
      trialIsOver("\(status)")
    case .failed(let reason): trialIsOver(reason)
    }
  }

  private func receivedOnTrial(_ message: [UInt8]) {
    guard var trial else { return }
    do throws(Follower.Fault) {
      _ = try trial.follower.receive(message, now: loop.now, wallClock: loop.wallClock)
    } catch {
      return trialIsOver(error.reason)
    }
    while let event = trial.follower.nextEvent() {
      switch event {
      case .answered: break
      case .refused(let name, let reason): return trialIsOver("its answer for \(name) was refused: \(reason)")
      case .turnedEmpty(let name): return trialIsOver("it answers nothing for \(name)")
      case .unexpected: break
      }
    }
    while let request = trial.follower.nextRequest() { trial.attempt.send(request) }
    self.trial = trial
    if trial.follower.isAnsweredAnew { move(to: trial) }
  }

  /// The preferred address has everything: the stream that counts is opened there, the old one ends after it.
  private func move(to trial: Trial) {
    let old = current
    loop.cancel(trial.deadline)
    self.trial = nil
    rota.moved(to: trial.index)
    subscribe(on: trial.attempt)
    old?.close()
  }

  /// The present address goes on; the next preferred one is tried, or all of them later.
  func trialIsOver(_ reason: String) {
    guard let trial else { return }
    endTrial()
    if trial.isRenewal { planRenewal() } else { tryAddress(trial.index + 1) }
  }

  func endTrial() {
    guard let trial else { return }
    loop.cancel(trial.deadline)
    self.trial = nil
    trial.attempt.close()
  }
}
