// One export or import under way, as its worker sees it: the file's bytes on one side, a snapshot on the other.
// Shared between the control loop, which hands pieces over, and the worker that does the work.

import Admin
import Primitives
import Snapshots
import Synchronization

/// A snapshot on its way out.
final class ExportSession: Sendable {
  private struct State: Sendable {
    var writer: ArchiveWriter
    /// Bytes that were given.
    var offset: UInt64 = 0
  }

  /// Bytes of one piece. Reason: about a millisecond of work, and a small part of what is held anyway.
  private static let pieceBytes = 512 * 1024

  let header: ArchiveHeader
  private let state: Mutex<State>

  init(_ writer: ArchiveWriter) {
    header = writer.header
    state = Mutex(State(writer: writer))
  }

  /// The bytes after the first `from`; none: the file ends there.
  func read(from: UInt64) -> AdminReply {
    state.withLock { state in
      guard from == state.offset else {
        return .error(status: 409, "This export stands at byte \(state.offset), not \(from). Begin again.")
      }
      let bytes = state.writer.next(ExportSession.pieceBytes)
      state.offset += UInt64(bytes.count)
      return AdminReply(contentType: .bytes, body: bytes)
    }
  }
}

/// A snapshot on its way in.
final class ImportSession: Sendable {
  private struct State: Sendable {
    var reader: ArchiveReader
    var intake: ArchiveIntake
    var received: UInt64 = 0
    /// Why nothing more is taken.
    var failure: ArchiveError?
  }

  let target: ImportTarget
  let terms: ImportTerms
  private let state: Mutex<State>

  init(_ target: ImportTarget, _ terms: ImportTerms, limits: Limits, now: Timestamp) {
    self.target = target
    self.terms = terms
    state = Mutex(
      State(
        reader: ArchiveReader(resourceBytesMost: limits.resourceBytes),
        intake: ArchiveIntake(source: target.source, limits: limits, intake: target.intake, now: now)))
  }

  /// Takes the bytes after the first `from`; `failed` is called when the file is none.
  func write(_ bytes: [UInt8], from: UInt64, failed: (CarryRefusal) -> Void) -> AdminReply {
    state.withLock { state in
      guard from == state.received else {
        return .error(status: 409, "This import stands at byte \(state.received), not \(from). Begin again.")
      }
      if let failure = state.failure { return CarryRefusal.archive(failure).reply }
      do throws(ArchiveError) {
        let items = try state.reader.receive(bytes)
        try state.intake.take(items, offset: state.reader.offset)
      } catch {
        state.failure = error
        failed(.archive(error))
        return CarryRefusal.archive(error).reply
      }
      state.received += UInt64(bytes.count)
      var writer = JSONWriter()
      writer.object { writer in
        writer.key("received")
        writer.raw(String(state.received))
      }
      return .json(writer.bytes)
    }
  }

  /// The file is all there: what it held.
  func finish(bytes: UInt64) -> Result<CarriedSnapshot, CarryRefusal> {
    state.withLock { state in
      do throws(ArchiveError) {
        if let failure = state.failure { throw failure }
        guard bytes == state.received else { throw .truncated(offset: Int(clamping: state.received)) }
        try state.reader.finish()
        return .success(try state.intake.finish(offset: state.reader.offset))
      } catch {
        state.failure = error
        return .failure(.archive(error))
      }
    }
  }
}
