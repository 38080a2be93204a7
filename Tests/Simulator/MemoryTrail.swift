// The audit log of a simulated host: memory that outlives its processes, a disk that is full for a while, and the
// torn line that a crash may leave.

import Audit
import Primitives
import Synchronization
import Trail

/// Shared by the lives of one host.
final class MemoryTrail: TrailStorage {
  private struct State {
    var bytes: [UInt8] = []
    var isFull = false
    /// Names of torn ends that were set aside.
    var torn = 0
  }

  private let state = Mutex(State())

  /// Everything written so far: whole lines, but after a crash.
  var bytes: [UInt8] { state.withLock { $0.bytes } }

  var isFull: Bool {
    get { state.withLock { $0.isFull } }
    set { state.withLock { $0.isFull = newValue } }
  }

  /// A crash in the middle of a write.
  func tear() { state.withLock { $0.bytes += Array(#"{"time":"2026-"#.utf8) } }

  func open() throws(TrailError) -> TrailOpening {
    let (opening, isFull) = state.withLock { state -> (TrailOpening, Bool) in
      let end = (state.bytes.lastIndex(of: UInt8(ascii: "\n")) ?? -1) + 1
      var opening = TrailOpening(head: .none)
      if end < state.bytes.count {
        state.torn += 1
        opening.torn = "torn-\(state.torn)"
        state.bytes.removeLast(state.bytes.count - end)
      }
      if end > 0 {
        let start = (state.bytes[..<(end - 1)].lastIndex(of: UInt8(ascii: "\n")) ?? -1) + 1
        opening.head = AuditLine(state.bytes[start..<(end - 1)])?.head ?? .none
      }
      return (opening, state.isFull)
    }
    if isFull { throw .full(path: "memory") }
    return opening
  }

  var byteCount: Int { state.withLock { $0.bytes.count } }

  func hasLostFile() throws(TrailError) -> Bool { false }

  func append(_ lines: [UInt8], syncing: Bool) throws(TrailError) {
    let fits = state.withLock { state in
      if !state.isFull { state.bytes += lines }
      return !state.isFull
    }
    if !fits { throw .full(path: "memory") }
  }

  func rotate(next: UInt64) throws(TrailError) {}
  func removeFiles(writtenBefore moment: Timestamp) -> [String] { [] }
  func release() {}
}
