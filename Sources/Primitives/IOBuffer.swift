// Byte containers with stable addresses: what a kernel, OpenSSL or nghttp2 may hold a pointer into.
//
// `IOBuffer` is a growable FIFO of bytes owned by one thread at a time. While the kernel sends from
// it, its owner must not append (the address may change): a connection keeps two and swaps them.

/// A growable first-in first-out run of bytes in one allocation with a stable address between writes.
/// Not `Sendable`: it belongs to the loop that made it.
@safe
public final class IOBuffer {
  private var base: UnsafeMutableRawPointer?
  /// 0 ≤ start ≤ end ≤ capacity; the content is start..<end.
  private var start = 0
  private var end = 0
  private var capacity = 0

  /// Allocates nothing until the first write.
  public init() {}

  deinit { unsafe base?.deallocate() }

  /// Readable bytes.
  public var count: Int { end - start }
  public var isEmpty: Bool { start == end }

  /// The readable bytes; valid until the next mutation.
  public var readable: UnsafeRawBufferPointer {
    unsafe UnsafeRawBufferPointer(start: base.map { unsafe UnsafeRawPointer($0 + start) }, count: count)
  }

  /// Makes room for `minimum` more bytes and returns all free space at the end; what is written
  /// there becomes content by `commit`.
  public func writable(minimum: Int) -> UnsafeMutableRawBufferPointer {
    reserve(minimum)
    return unsafe UnsafeMutableRawBufferPointer(
      start: base.map { unsafe $0 + end }, count: capacity - end)
  }

  /// Adds `count` bytes that were written into `writable`.
  public func commit(_ count: Int) {
    precondition(count >= 0 && count <= capacity - end, "IOBuffer.commit beyond the space handed out")
    end += count
  }

  /// Drops `count` bytes from the front.
  public func consume(_ count: Int) {
    precondition(count >= 0 && count <= self.count, "IOBuffer.consume beyond the content")
    start += count
    if start == end {
      start = 0
      end = 0
    }
  }

  public func append(_ bytes: UnsafeRawBufferPointer) {
    guard unsafe !bytes.isEmpty else { return }
    let space = unsafe writable(minimum: bytes.count)
    unsafe space.copyMemory(from: bytes)
    commit(bytes.count)
  }

  public func append(_ bytes: [UInt8]) {
    unsafe bytes.withUnsafeBytes { unsafe append($0) }
  }

  public func removeAll() {
    start = 0
    end = 0
  }

  /// Gives the memory back; for connections that have gone idle.
  public func release() {
    precondition(isEmpty, "IOBuffer.release would lose bytes")
    unsafe base?.deallocate()
    unsafe base = nil
    capacity = 0
    start = 0
    end = 0
  }

  private func reserve(_ minimum: Int) {
    if capacity - end >= minimum { return }
    let used = count
    if capacity - used >= minimum, start >= used, let base = unsafe base {
      unsafe base.copyMemory(from: base + start, byteCount: used)
    } else {
      let size = max(max(capacity &* 2, used + minimum), 4096)
      let grown = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 16)
      if let base = unsafe base {
        if used > 0 { unsafe grown.copyMemory(from: base + start, byteCount: used) }
        unsafe base.deallocate()
      }
      unsafe base = grown
      capacity = size
    }
    start = 0
    end = used
  }
}
