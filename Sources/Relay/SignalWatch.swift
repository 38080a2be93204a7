// Signals as events of the control loop: blocked in every thread and read from a signalfd, so that no handler
// ever runs in the middle of something.

import CLinux
import Glibc
import Ring

final class SignalWatch: DescriptorHandler {
  private static let watched = [SIGTERM, SIGINT, SIGHUP]

  private let descriptor: Int32
  private let loop: EventLoop
  private let signalled: (Int32) -> Void

  /// Call once, before any thread starts: threads inherit the mask.
  static func block() {
    var set = watchedSet
    unsafe pthread_sigmask(SIG_BLOCK, &set, nil)
    // A peer that goes away is an error of its send, not the end of the process.
    signal(SIGPIPE, SIG_IGN)
  }

  private static var watchedSet: sigset_t {
    var set = sigset_t()
    unsafe sigemptyset(&set)
    for number in watched { unsafe sigaddset(&set, number) }
    return set
  }

  init(on loop: EventLoop, _ signalled: @escaping (Int32) -> Void) {
    self.loop = loop
    self.signalled = signalled
    var set = SignalWatch.watchedSet
    descriptor = unsafe signalfd(-1, &set, Int32(SFD_NONBLOCK | SFD_CLOEXEC))
    precondition(descriptor >= 0, "the kernel gave no signalfd for three ordinary signals")
    loop.watch(descriptor: descriptor, self)
  }

  func descriptorReadable(_ descriptor: Int32) {
    var record = signalfd_siginfo()
    while unsafe read(descriptor, &record, MemoryLayout<signalfd_siginfo>.size)
      == MemoryLayout<signalfd_siginfo>.size
    {
      signalled(Int32(bitPattern: record.ssi_signo))
    }
  }
}
