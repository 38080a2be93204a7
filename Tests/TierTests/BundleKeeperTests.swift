// Goal: fetched bundles reach the disk in the order of events, one job at a time, whatever the worker does; without a
// state folder nothing happens. Method: a worker that is told when to work and when to refuse, real files.

import Foundation
import Identity
import Primitives
import SPIFFE
import Synchronization
import TestCertificates
import Testing
import Transport
import Trust

@testable import Tier

private let partner = TestAuthority("partner.org")
private let other = TestAuthority("other.org")

/// Works when told to.
private final class PatientWorker: Worker {
  private struct State {
    var isFull = false
    var jobs: [@Sendable () -> Void] = []
  }

  private let state = Mutex(State())

  func submit(_ job: @escaping @Sendable () -> Void) -> Bool {
    state.withLock { state in
      guard !state.isFull else { return false }
      state.jobs.append(job)
      return true
    }
  }

  var waiting: Int { state.withLock { $0.jobs.count } }

  func refuse(_ isFull: Bool) { state.withLock { $0.isFull = isFull } }

  func work() {
    let jobs = state.withLock { state in
      defer { state.jobs = [] }
      return state.jobs
    }
    for job in jobs { job() }
  }
}

private func kept(_ authority: TestAuthority, sequence: UInt64) throws -> KeptBundle {
  let domain = try TrustDomain(authority.trustDomain)
  return KeptBundle(
    endpoint: BundleEndpoint(
      trustDomain: domain, target: HTTPSTarget(host: "h", port: 443, path: "/"), profile: .web),
    bundle: try Trust.Bundle(trustDomain: domain, anchors: [authority.certificate], sequence: sequence),
    fetchedAt: Timestamp(seconds: TestAuthority.epoch))
}

private final class Bench {
  let state = FileManager.default.temporaryDirectory.appending(path: "keeper-\(UUID().uuidString)").path
  let worker = PatientWorker()
  let keeper: BundleKeeper

  init(withState: Bool = true) {
    keeper = BundleKeeper(state: withState ? state : nil, worker: worker, wake: {})
  }

  deinit { try? FileManager.default.removeItem(atPath: state) }

  var names: [String] {
    ((try? FileManager.default.contentsOfDirectory(atPath: state + "/bundles")) ?? []).sorted()
  }

  /// What is on disk of one endpoint.
  func sequence(_ bundle: KeptBundle) -> UInt64? {
    BundleShelf(folder: state + "/bundles").restore([bundle.endpoint]).kept.first?.bundle.sequence
  }

  func settle() {
    for _ in 0..<10 {
      worker.work()
      _ = keeper.pickUp()
    }
  }
}

struct BundleKeeperTests {
  @Test func oneJobAtATimeAndTheNewestOfEach() throws {
    let bench = Bench()
    for sequence in 1...5 as ClosedRange<UInt64> {
      bench.keeper.keep(try kept(partner, sequence: sequence))
      bench.keeper.keep(try kept(other, sequence: sequence))
    }
    #expect(bench.worker.waiting == 1)
    bench.settle()
    #expect(bench.names == ["other.org", "partner.org"])
    #expect(bench.sequence(try kept(partner, sequence: 0)) == 5)
  }

  @Test func aBusyWorkerIsAskedAgain() throws {
    let bench = Bench()
    bench.worker.refuse(true)
    bench.keeper.keep(try kept(partner, sequence: 1))
    bench.settle()
    #expect(bench.names.isEmpty)
    bench.worker.refuse(false)
    bench.settle()
    #expect(bench.names == ["partner.org"])
  }

  /// What is forgotten while it waits to be written is not written.
  @Test func forgottenIsForgotten() throws {
    let bench = Bench()
    let bundle = try kept(partner, sequence: 1)
    bench.keeper.keep(bundle)
    bench.keeper.keep(try kept(other, sequence: 1))
    // The first is under way, the second waits.
    bench.keeper.forget(besides: [])
    bench.settle()
    #expect(bench.names.isEmpty)
  }

  @Test func theDiskIsReadBeforeAnythingIsWritten() throws {
    let bench = Bench()
    let bundle = try kept(partner, sequence: 7)
    bench.keeper.keep(bundle)
    bench.settle()
    #expect(bench.keeper.restore([bundle.endpoint]))
    bench.keeper.keep(try kept(partner, sequence: 8))
    bench.worker.work()
    guard case .restored(let found, let troubles)? = bench.keeper.pickUp().first else {
      Issue.record("nothing was restored")
      return
    }
    #expect(found == [bundle] && troubles.isEmpty)
    bench.settle()
    #expect(bench.sequence(bundle) == 8)
  }

  @Test func whatCannotBeWrittenIsTold() throws {
    let bench = Bench()
    try FileManager.default.createDirectory(atPath: bench.state, withIntermediateDirectories: true)
    try "".write(toFile: bench.state + "/bundles", atomically: true, encoding: .utf8)
    bench.keeper.keep(try kept(partner, sequence: 1))
    bench.worker.work()
    guard case .kept(_, .folderOpen?)? = bench.keeper.pickUp().first else {
      Issue.record("nothing was told")
      return
    }
    #expect(bench.worker.waiting == 0, "not tried again before the next document")
  }

  @Test func withoutAFolderThereIsNothingToDo() throws {
    let bench = Bench(withState: false)
    #expect(!bench.keeper.restore([try kept(partner, sequence: 1).endpoint]))
    bench.keeper.keep(try kept(partner, sequence: 1))
    bench.keeper.forget(besides: [])
    #expect(bench.worker.waiting == 0)
  }
}
