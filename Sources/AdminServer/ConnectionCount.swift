// The bound on connections of one admin listener. Full means: the new connection is closed at once.

import NIOCore
import Synchronization

final class ConnectionCount: Sendable {
  private let max: Int
  /// 0 ≤ open ≤ max.
  private let open = Atomic<Int>(0)

  /// Why a connection was not let in.
  private struct Full: Error {}

  init(max: Int) { self.max = max }

  /// Lets `channel` in and sets it up, or fails, which makes NIO close it.
  func admit(
    _ channel: any Channel, setUp: (any Channel) -> EventLoopFuture<Void>
  ) -> EventLoopFuture<Void> {
    guard open.add(1, ordering: .relaxed).newValue <= max else {
      open.subtract(1, ordering: .relaxed)
      return channel.eventLoop.makeFailedFuture(Full())
    }
    channel.closeFuture.whenComplete { _ in self.open.subtract(1, ordering: .relaxed) }
    return setUp(channel)
  }
}
