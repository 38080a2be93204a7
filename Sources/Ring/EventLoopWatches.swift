// Descriptors that a loop only watches for readability (inotify, signalfd); their owners read and close them.

import Glibc
import Primitives

/// One watched descriptor.
struct DescriptorWatch {
  let descriptor: Int32
  let generation: UInt32
  let handler: any DescriptorHandler
}

extension EventLoop {
  /// How long watching rests after the kernel could not watch for want of memory.
  private static let watchPause: Duration = .milliseconds(100)

  /// Calls `handler` whenever reading `descriptor` would not block. It stays the caller's, who unwatches it
  /// before closing.
  public func watch(descriptor: Int32, _ handler: any DescriptorHandler) {
    precondition(
      !watches.contains { $0?.descriptor == descriptor }, "a descriptor is watched twice on one loop")
    let slot = watches.firstIndex { $0 == nil } ?? watches.count
    let watch = DescriptorWatch(descriptor: descriptor, generation: takeGeneration(), handler: handler)
    if slot == watches.count { watches.append(watch) } else { watches[slot] = watch }
    driver.pollReadable(descriptor, token(watch, slot))
  }

  /// The handler is not called any more, and the caller may close the descriptor at once.
  public func unwatch(descriptor: Int32) {
    guard let slot = watches.firstIndex(where: { $0?.descriptor == descriptor }), let watch = watches[slot]
    else { return noteStale() }
    watches[slot] = nil
    driver.cancel(token(watch, slot), on: descriptor)
  }

  func becameReadable(_ completion: Completion) {
    let (slot, generation) = (completion.token.slot, completion.token.generation)
    guard let watch = watch(slot, generation) else { return noteStale() }
    guard completion.result >= 0 else {
      precondition(completion.result != -EBADF, "a watched descriptor was closed before unwatch")
      _ = timers.arm(at: now + EventLoop.watchPause, .watchAgain(slot: slot, generation: generation))
      return
    }
    watch.handler.descriptorReadable(watch.descriptor)
    watchAgain(slot, generation)
  }

  func watchAgain(_ slot: UInt32, _ generation: UInt32) {
    guard let watch = watch(slot, generation) else { return }
    driver.pollReadable(watch.descriptor, token(watch, Int(slot)))
  }

  private func watch(_ slot: UInt32, _ generation: UInt32) -> DescriptorWatch? {
    guard Int(slot) < watches.count, let watch = watches[Int(slot)], watch.generation == generation
    else { return nil }
    return watch
  }

  private func token(_ watch: DescriptorWatch, _ slot: Int) -> OperationToken {
    OperationToken(.watch, slot: UInt32(slot), generation: watch.generation)
  }
}
