// Asks the SPIFFE Workload API once, for a command that needs an identity and ends: dials, waits for an answer
// that can be used, and hangs up.

import Configuration
import Identity
import Primitives
import Ring
import SPIFFE
import Trust

final class WorkloadFetch: WorkloadClientOwner, TimerHandler {
  struct Failure: Error {
    let what: String
    /// Empty: nothing is known that mends it.
    var fix = ""

    var text: String { fix.isEmpty ? what : "\(what). \(fix)" }

    init(_ what: String) { self.what = what }

    init(_ error: some Explained) {
      what = error.why.isEmpty ? error.what : "\(error.what): \(error.why)"
      fix = error.howToFix
    }
  }

  /// Reason: an agent answers at once; one that attests for the first time takes seconds.
  private static let patience: Duration = .seconds(10)

  private let endpoint: SocketAddress
  private let choice: SVIDChoice?
  private let bundles: BundleFiles
  private var found: Credentials?
  private var trouble: WorkloadTrouble?
  private var loop: EventLoop?

  init(_ endpoint: SocketAddress, _ choice: SVIDChoice?, _ bundles: BundleFiles) {
    self.endpoint = endpoint
    self.choice = choice
    self.bundles = bundles
  }

  func run() throws(Failure) -> Credentials {
    let loop: EventLoop
    do throws(RingError) { loop = EventLoop(driver: try makeDriver(nil)) } catch {
      throw Failure(error)
    }
    self.loop = loop
    let client = WorkloadClient(
      endpoint, loop: loop, limits: Limits(), seed: .random(in: .min ... .max), owner: self)
    loop.schedule(at: loop.now + WorkloadFetch.patience, self, tag: 0)
    client.start()
    loop.run()
    client.stop()
    if let found { return found }
    if let trouble { throw Failure(trouble) }
    throw Failure("\(endpoint) has not answered within 10 s")
  }

  func workload(_ client: WorkloadClient, offered offer: WorkloadOffer) {
    guard let loop else { return }
    do throws(WorkloadTrouble) {
      var book = IdentityBook()
      book.take(try offer.resolve(choice, at: loop.wallClock))
      book.take(files: bundles.read())
      found = book.credentials(generation: 1)
    } catch {
      trouble = error
    }
    loop.stop()
  }

  func workload(_ client: WorkloadClient, isInTrouble trouble: WorkloadTrouble) {
    self.trouble = trouble
    loop?.stop()
  }

  func timerFired(_ id: TimerID, tag: Int) { loop?.stop() }
}

extension SVIDChoice {
  init(_ settings: IdentitySettings.SVIDChoice) {
    switch settings {
    case .hint(let hint): self = .hint(hint)
    case .spiffeID(let id): self = .spiffeID(id)
    }
  }
}
