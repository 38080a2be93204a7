// Goal: a name is looked up anew each time, and one that hangs has an answer in time and holds up nobody else.
// Method: look-ups by a worker that the test holds still, on a simulated clock.

import Primitives
import Ring
import Synchronization
import Testing
import Transport

/// Runs jobs when the test says so.
private final class HeldWorker: Worker {
  let jobs = Mutex<[@Sendable () -> Void]>([])

  func submit(_ job: @escaping @Sendable () -> Void) -> Bool {
    jobs.withLock { $0.append(job) }
    return true
  }

  func runAll() {
    for job in jobs.withLock({ jobs in
      defer { jobs = [] }
      return jobs
    }) { job() }
  }
}

@Suite struct ResolverTests {
  private let network = SimulatedNetwork(seed: 1, start: Timestamp(seconds: 1))
  private let name = Endpoint(host: "central.example.org", port: 1)

  private func text(_ answer: Resolver.Answer) -> String {
    switch answer {
    case .addresses(let addresses): addresses.map(\.description).joined(separator: ",")
    case .failed(let reason): reason
    }
  }

  @Test func aNameThatHangsIsAnsweredInTimeAndAskedForOnce() {
    let loop = EventLoop(driver: SimulatedDriver(network: network, host: "relay"))
    let worker = HeldWorker()
    let resolver = Resolver(
      worker: worker, limits: Limits(), loop: loop, wake: {}, lookUp: { _ in .failed("late") })
    var answers: [String] = []
    resolver.resolve(name) { answers.append(self.text($0)) }
    network.run(for: .seconds(4))
    #expect(answers.isEmpty)
    network.run(for: .seconds(2))
    #expect(answers.count == 1 && answers[0].contains("has not answered for 5 s"), "\(answers)")
    // The next try joins the look-up that hangs, and hears what comes of it.
    resolver.resolve(name) { answers.append(self.text($0)) }
    #expect(worker.jobs.withLock(\.count) == 1)
    worker.runAll()
    resolver.deliver()
    #expect(answers.count == 2 && answers[1] == "late")
    network.run(for: .seconds(10))
    #expect(answers.count == 2, "one answer a question")
    // Over: the name is looked up again.
    resolver.resolve(name) { _ in }
    #expect(worker.jobs.withLock(\.count) == 1)
  }

  @Test func everyQuestionAsksTheSystemAnew() throws {
    let address = try #require(SocketAddress(literal: "10.0.0.1:1"))
    let calls = Mutex(0)
    let count: Resolver.LookUp = { _ in
      calls.withLock { $0 += 1 }
      return .addresses([address])
    }
    let resolver = Resolver(worker: InlineWorker(), limits: Limits(), wake: {}, lookUp: count)
    var answers: [String] = []
    for _ in 0..<3 {
      resolver.resolve(name) { answers.append(self.text($0)) }
      resolver.deliver()
    }
    #expect(answers == Array(repeating: "10.0.0.1:1", count: 3) && calls.withLock(\.self) == 3)
  }
}
