// Ctrl-C as a question between two steps of a command, for one that must not leave something half done elsewhere.

import Glibc

/// While it lives, SIGINT and SIGTERM wait for `end`.
struct Interruption: ~Copyable {
  private static let watched = [SIGINT, SIGTERM]
  private let before: sigset_t

  init() {
    var (set, old) = (sigset_t(), sigset_t())
    unsafe sigemptyset(&set)
    for number in Interruption.watched { unsafe sigaddset(&set, number) }
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

  /// Lets the signal do what it does: shells see who died of what. Returns where it is ignored.
  func end() -> Int32 {
    var set = before
    unsafe pthread_sigmask(SIG_SETMASK, &set, nil)
    return 1
  }
}
