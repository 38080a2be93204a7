// How another thread wakes a loop that waits in the kernel: an eventfd, written at most once per wait.

import CLinux
import Glibc
import Primitives
import Synchronization

/// One eventfd and the flag that coalesces wakes. Shared by the loop and every holder of its waker, and
/// closed with the last of them, so that a late wake never writes into a descriptor that means something
/// else by then.
final class WakeSignal: Sendable {
  let descriptor: Int32
  private let pending = Atomic<Bool>(false)

  /// `nonBlocking` for drivers that read it themselves.
  init(nonBlocking: Bool) throws(RingError) {
    let flags = Int32(EFD_CLOEXEC) | (nonBlocking ? Int32(EFD_NONBLOCK) : 0)
    descriptor = eventfd(0, flags)
    guard descriptor >= 0 else { throw .resourceRefused(call: "eventfd", errno: errno) }
  }

  deinit { _ = Glibc.close(descriptor) }

  /// Any thread. Only the first call after `acknowledge` enters the kernel.
  func signal() {
    guard !pending.exchange(true, ordering: .acquiringAndReleasing) else { return }
    var one: UInt64 = 1
    while unsafe Glibc.write(descriptor, &one, MemoryLayout<UInt64>.size) < 0, errno == EINTR {}
  }

  /// The loop's thread, before it looks at what it was woken for: a wake from here on is a new one.
  func acknowledge() { pending.store(false, ordering: .sequentiallyConsistent) }

  var waker: Waker { { self.signal() } }
}
