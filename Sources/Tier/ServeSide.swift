// What the control loop does for the serve loops beyond generations and credentials: it hands out the sinks to dial,
// tells them whether the relay is ready, and asks all of them what one cannot know alone.

import Admin
import Downstream
import Primitives
import SPIFFE

extension ControlLoop {
  /// Hands each sink to one serve loop. Those that stay in the list stay where they are.
  func assignSinks() {
    guard !serving.isEmpty else { return }
    let before = crossings.sinks.value
    let next = plan.sinks.enumerated().map { index, plan in
      before.first { $0.plan == plan } ?? SinkAssignment(plan: plan, loop: index % serving.count)
    }
    guard next != before else { return }
    crossings.sinks.publish(next)
    for handle in serving { handle.wake() }
  }

  /// gRPC health says what `/readyz` says.
  func tellReadiness() {
    let isReady = readiness.ready
    guard isReady != crossings.readiness.value else { return }
    crossings.readiness.publish(isReady)
    for handle in serving { handle.wake() }
  }
}

/// Questions of clients about their own streams: put to every serve loop, answered to the one that asked.
struct StreamQuestions {
  private struct Pending {
    let loop: Int
    /// The asking loop's own number for it.
    let ticket: UInt64
    var missing: Int
    var streams: [StreamDescription] = []
    let deadline: Instant
  }

  /// An answer on its way to a loop.
  struct Answer {
    let loop: Int
    let ticket: UInt64
    let streams: [StreamDescription]
  }

  /// How long a loop may take. What has come by then is the answer.
  private static let patience: Duration = .seconds(1)

  private var pending: [UInt64: Pending] = [:]
  private var nextTicket: UInt64 = 0

  /// The number to ask `loops` loops under.
  mutating func ask(for loop: Int, ticket: UInt64, loops: Int, now: Instant) -> UInt64 {
    nextTicket += 1
    pending[nextTicket] = Pending(
      loop: loop, ticket: ticket, missing: loops, deadline: now + StreamQuestions.patience)
    return nextTicket
  }

  /// The whole answer, once the last loop has spoken.
  mutating func received(_ ticket: UInt64, _ streams: [StreamDescription]) -> Answer? {
    guard var question = pending[ticket] else { return nil }
    question.streams += streams
    question.missing -= 1
    pending[ticket] = question
    return question.missing == 0 ? settle(ticket) : nil
  }

  /// Answers that wait for nobody any more.
  mutating func overdue(now: Instant) -> [Answer] {
    pending.filter { $0.value.deadline <= now }.keys.sorted().compactMap { settle($0) }
  }

  private mutating func settle(_ ticket: UInt64) -> Answer? {
    pending.removeValue(forKey: ticket).map {
      Answer(loop: $0.loop, ticket: $0.ticket, streams: $0.streams)
    }
  }
}
