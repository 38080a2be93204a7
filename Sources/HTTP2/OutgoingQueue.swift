// The bytes one stream still has to send: messages of a small own head and a large shared body.
//
// Never copies a body: it keeps a reference and a cursor, and reads straight into the send buffer
// when a DATA frame is made. A queue that nobody reads costs its heads and 40 bytes a message.

internal import Primitives

struct OutgoingQueue {
  private struct Message {
    let head: [UInt8]
    let body: SharedBody?
    /// 0 ≤ headRead ≤ head.count.
    var headRead = 0
    var cursor = SharedBodyCursor()
    /// Bytes of head and body not read yet.
    var remaining: Int
    let byteCount: Int
  }

  private var messages: [Message] = []
  /// Bytes not read yet, over all messages.
  private(set) var unsentBytes = 0

  var isEmpty: Bool { unsentBytes == 0 }

  mutating func append(head: [UInt8], body: SharedBody?) {
    let size = head.count + (body?.byteCount ?? 0)
    guard size > 0 else { return }
    messages.append(Message(head: head, body: body, remaining: size, byteCount: size))
    unsentBytes += size
  }

  /// Copies the next bytes into `target`, across message borders; returns how many.
  mutating func read(into target: UnsafeMutableRawBufferPointer) -> Int {
    var written = 0
    while written < target.count, !messages.isEmpty {
      let rest = unsafe UnsafeMutableRawBufferPointer(rebasing: target[written...])
      written += unsafe OutgoingQueue.read(&messages[0], into: rest)
      if messages[0].remaining == 0 { messages.removeFirst() }
    }
    unsentBytes -= written
    return written
  }

  /// Drops all messages of which nothing has been read yet; returns how many.
  mutating func removeUnbegun() -> Int {
    let before = messages.count
    messages.removeAll { $0.remaining == $0.byteCount }
    unsentBytes = messages.reduce(0) { $0 + $1.remaining }
    return before - messages.count
  }

  mutating func removeAll() {
    messages = []
    unsentBytes = 0
  }

  /// Precondition of progress: `message.remaining > 0` and `target` is not empty, so at least one byte is read.
  private static func read(_ message: inout Message, into target: UnsafeMutableRawBufferPointer) -> Int {
    var written = 0
    if message.headRead < message.head.count {
      written = min(message.head.count - message.headRead, target.count)
      unsafe message.head.withUnsafeBytes { head in
        let part = unsafe UnsafeRawBufferPointer(
          rebasing: head[message.headRead..<message.headRead + written])
        unsafe target.copyMemory(from: part)
      }
      message.headRead += written
    }
    if let body = message.body, written < target.count {
      let rest = unsafe UnsafeMutableRawBufferPointer(rebasing: target[written...])
      written += unsafe message.cursor.read(body, into: rest)
    }
    precondition(written > 0, "an outgoing message is shorter than its byte count")
    message.remaining -= written
    return written
  }
}
