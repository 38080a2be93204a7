// Ctrl-C as a question between two steps of a command, for one that must not leave something half done elsewhere.

import CLinux
import Glibc

/// While it lives, SIGINT and SIGTERM wait for `end`.
struct Interruption: ~Copyable {
  private static let watched = [SIGINT, SIGTERM]
  private let before: sigset_t

  init() {
    var (set, old) = (sigset_t(), sigset_t())
    unsafe sigemptyset(&set)
    // Blocked it would wait to be seen, also where it was to be ignored.
    for number in Interruption.watched where linux_ignores_signal(number) == 0 {
      unsafe sigaddset(&set, number)
    }
    unsafe pthread_sigmask(SIG_BLOCK, &set, &old)
    before = old
  }

  deinit {
    var set = before
    unsafe pthread_sigmask(SIG_SETMASK, &set, nil)
  }

  /// Somebody wants this process to end.
  var isPending: Bool {
    var set = sigset_t()
    guard unsafe sigpending(&set) == 0 else { return false }
    return Interruption.watched.contains { unsafe sigismember(&set, $0) == 1 }
  }

  /// Lets the signal do what it does: shells see who died of what. Returns where something else handles it.
  func end() -> Int32 {
    var set = before
    unsafe pthread_sigmask(SIG_SETMASK, &set, nil)
    return 1
  }
}
