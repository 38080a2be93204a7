// The serve loops' threads. Each loop is born inside its thread: the closure captures only Sendable
// values, so the compiler proves that nothing of a loop is reachable from another thread.

import Audit
import Configuration
import Dispatch
import Downstream
import Foundation
import Glibc
import Metrics
import Primitives
import Ring
import Synchronization
import TLS
import Tier
import Trail

final class ServeThreads {
  let handles: [ServeHandle]
  let addresses: [SocketAddress]
  private let ended: [DispatchSemaphore]

  /// Binds every listener, starts the threads and returns when all of them accept.
  init(
    _ process: ProcessPlan, io: DriverKind?, crossings: ServeCrossings, shards: [MetricShard],
    trail: TrailWriter?, resolver: any Worker
  ) throws(RelayError) {
    let sockets = try ListeningSockets(process.listen)
    addresses = sockets.addresses
    var handles: [ServeHandle] = []
    var ended: [DispatchSemaphore] = []
    for index in 0..<process.loops {
      let birth = Birth()
      let end = DispatchSemaphore(value: 0)
      let plan = Plan(
        index: index, io: io, tier: process.tier, crossings: crossings, shard: shards[index],
        audit: trail?.serving[index], descriptors: sockets.copies(), resolver: resolver)
      Thread.start(named: "serve-\(index)") {
        ServeThreads.live(plan, birth)
        end.signal()
      }
      handles.append(try birth.wait())
      ended.append(end)
    }
    sockets.close()
    self.handles = handles
    self.ended = ended
  }

  /// Ends the loops at once; drain first.
  func stop() {
    for handle in handles {
      handle.commands.push(.stop)
      handle.wake()
    }
    for end in ended { end.wait() }
  }

  /// What a serve thread is started with.
  private struct Plan: Sendable {
    let index: Int
    let io: DriverKind?
    let tier: TierPlan
    let crossings: ServeCrossings
    let shard: MetricShard
    let audit: AuditLane?
    let descriptors: [Int32]
    let resolver: any Worker
  }

  private static func live(_ plan: Plan, _ birth: Birth) {
    do throws(RingError) {
      let loop = EventLoop(driver: try makeDriver(plan.io))
      let serving = ServeLoop(
        index: plan.index, loop: loop, kind: plan.tier.listeners, resolver: plan.resolver,
        crossings: plan.crossings, metrics: plan.shard,
        audit: plan.audit, seed: UInt64.random(in: .min ... .max))
      for descriptor in plan.descriptors { try serving.listen(descriptor: descriptor) }
      let commands = Mailbox<ServeCommand>(capacity: plan.tier.limits.workerMailbox, wake: loop.waker)
      loop.onWake = {
        serving.pickUp()
        for command in commands.drain() { serving.handle(command) }
      }
      birth.succeed(ServeHandle(commands: commands, wake: loop.waker))
      serving.pickUp()
      loop.run()
      withExtendedLifetime(serving) {}
    } catch {
      birth.fail(error)
    }
  }

  /// How a thread tells its starter that its loop lives.
  private final class Birth: Sendable {
    private let outcome = Mutex<Result<ServeHandle, RingError>?>(nil)
    private let told = DispatchSemaphore(value: 0)

    func succeed(_ handle: ServeHandle) {
      outcome.withLock { $0 = .success(handle) }
      told.signal()
    }

    func fail(_ error: RingError) {
      outcome.withLock { $0 = .failure(error) }
      told.signal()
    }

    func wait() throws(RelayError) -> ServeHandle {
      told.wait()
      guard let outcome = outcome.withLock({ $0 }) else {
        preconditionFailure("a serve thread told of nothing")
      }
      do throws(RingError) { return try outcome.get() } catch { throw .ring(error) }
    }
  }
}

/// The configured listening sockets, bound once; every loop gets a copy of each descriptor.
private struct ListeningSockets {
  private let descriptors: [Int32]
  let addresses: [SocketAddress]

  init(_ listen: [ListenSettings]) throws(RelayError) {
    let inherited = InheritedSocket.takeAll()
    var descriptors: [Int32] = []
    var addresses: [SocketAddress] = []
    for entry in listen {
      switch entry {
      case .address(let configured):
        guard let address = SocketAddress(literal: configured.description) else {
          throw .notAnAddress(configured.description)
        }
        descriptors.append(try ListeningSockets.bind(address))
        addresses.append(address)
      case .socket(let name):
        guard let socket = inherited.first(where: { $0.name == name }) else {
          throw .notInherited(name: name, found: inherited.map(\.name))
        }
        descriptors.append(socket.descriptor)
      }
    }
    self.descriptors = descriptors
    self.addresses = addresses
  }

  /// For how long an address in use is tried again. Reason: the kernel takes the ring of a relay that was killed apart
  /// some milliseconds after the process is gone, and its listening sockets with it.
  private static let takeDownMost: Duration = .seconds(3)

  private static func bind(_ address: SocketAddress) throws(RelayError) -> Int32 {
    let deadline = ContinuousClock.now + takeDownMost
    while true {
      do throws(RingError) {
        return try bindListener(address)
      } catch {
        guard case .cannotListen(_, errno: EADDRINUSE) = error, ContinuousClock.now < deadline else {
          throw .ring(error)
        }
        usleep(20_000)
      }
    }
  }

  func copies() -> [Int32] { descriptors.map { fcntl($0, F_DUPFD_CLOEXEC, 3) } }

  func close() { for descriptor in descriptors { _ = Glibc.close(descriptor) } }
}
