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

  private static let made = Mutex<(state: State, connections: Int)?>(nil)

  /// Makes the heap, once: its size cannot change. The first key read makes it, too.
  /// - Parameter connections: how many there may be at a time.
  @discardableResult
  public static func prepare(connections: Int = 0) -> State {
    made.withLock { made in
      if let made { return made.state }
      let next = make(connections)
      made = next
      return next.state
    }
  }

  /// With more connections than these handshakes fail. 0 before the heap is made.
  public static var connectionsMost: Int { made.withLock { $0?.connections ?? 0 } }

  private static func make(_ connections: Int) -> (state: State, connections: Int) {
    // A quarter more than connections take, for signatures under way and the generators of randomness.
    let each = connectionBytes * 5 / 4
    var bytes = bytesLeast
    while bytes / each < connections { bytes *= 2 }
    switch CRYPTO_secure_malloc_init(bytes, connectionBytes) {
    case 1: return (.locked, bytes / each)
    case 2: return (.unlocked, bytes / each)
    default: return (.missing, .max)
    }
  }
}
