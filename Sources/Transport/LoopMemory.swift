// Memory that the connections of one loop share, so that an idle connection owns next to nothing.
//
// Decrypted and not yet encrypted bytes live here only while one connection is being handled; buffers
// towards the kernel are lent out for one send and come back when it completed.

import Primitives

/// Scratch space and spare send buffers of one event loop. Belongs to that loop's thread.
public final class LoopMemory {
  /// Plaintext that was just decrypted; empty between two events.
  let opened = IOBuffer()
  /// Frames on their way to encryption; empty between two events.
  let framed = IOBuffer()
  private var spare: [IOBuffer] = []
  /// Buffers kept for reuse. Reason: bursts of sends reuse them, 64 × 64 KiB bounds what idles.
  private static let spareMost = 64

  public init() {}

  func borrow() -> IOBuffer { spare.popLast() ?? IOBuffer() }

  func giveBack(_ buffer: IOBuffer) {
    buffer.removeAll()
    if spare.count < LoopMemory.spareMost { spare.append(buffer) }
  }
}
