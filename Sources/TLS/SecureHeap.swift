// Where OpenSSL keeps private keys, ours and those of single handshakes: its secure heap, one run of pages that the
// kernel locks where it may, that core dumps leave out, with a page on either side that nobody may touch. OpenSSL wipes
// what is given back. Without this OpenSSL would keep keys among everything else.

import COpenSSL
import Synchronization

public enum SecureHeap {
  public enum State: Sendable {
    case locked
    /// RLIMIT_MEMLOCK did not allow it: keys may be written to swap.
    case unlocked
    /// There is none: keys lie anywhere.
    case missing
  }

  /// Bytes that one connection holds for its life: the key it agreed on others with, P-256 or X25519.
  private static let connectionBytes = 32
  /// Bytes at least: enough for 100,000 connections, and a half of what an ordinary limit lets a process lock.
  private static let bytesLeast = 4 << 20

  private static let made = Mutex<State?>(nil)

  /// Makes the heap, once: its size cannot change. The first key read makes it, too.
  /// - Parameter connections: how many there may be at a time. With more, handshakes fail.
  @discardableResult
  public static func prepare(connections: Int = 0) -> State {
    made.withLock { made in
      if let made { return made }
      let state = make(connections)
      made = state
      return state
    }
  }

  private static func make(_ connections: Int) -> State {
    // A quarter more than connections take, for signatures under way and the generators of randomness.
    let wanted = max(
      bytesLeast, connections.multipliedReportingOverflow(by: connectionBytes * 5 / 4).partialValue)
    var bytes = bytesLeast
    while bytes < wanted { bytes *= 2 }
    switch CRYPTO_secure_malloc_init(bytes, connectionBytes) {
    case 1: return .locked
    case 2: return .unlocked
    default: return .missing
    }
  }
}
