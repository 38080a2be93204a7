// Where a secret lies while it must be kept: in pages of its own, which the kernel locks where it may (so that they are
// never written to swap), which core dumps leave out, and which are wiped when nobody holds them any more.
// Nothing here makes a copy of it.

import Glibc

/// Zeroes bytes where they lie, which the optimiser leaves in. For memory whose holders are done with it: nobody else is
/// asked.
public func wipe(_ bytes: UnsafeRawBufferPointer) {
  guard let start = bytes.baseAddress else { return }
  unsafe explicit_bzero(UnsafeMutableRawPointer(mutating: start), bytes.count)
}

/// A secret of fixed length. Descriptions and mirrors say nothing about it.
@safe
public final class SecretBytes: Sendable, CustomStringConvertible, CustomReflectable {
  // Written once, in the initializer.
  nonisolated(unsafe) private let pages: UnsafeMutableRawPointer
  private let pageBytes: Int
  public let count: Int
  /// False where RLIMIT_MEMLOCK did not allow it.
  public let isLocked: Bool

  /// The caller's bytes stay what they are.
  public convenience init(copying bytes: UnsafeRawBufferPointer) {
    self.init(mapping: bytes.count)
    unsafe UnsafeMutableRawBufferPointer(start: pages, count: bytes.count).copyMemory(from: bytes)
  }

  public convenience init(_ bytes: [UInt8]) {
    self.init(mapping: bytes.count)
    unsafe UnsafeMutableRawBufferPointer(start: pages, count: bytes.count).copyBytes(from: bytes)
  }

  /// Bytes that `fill` writes where they stay, so that no copy is anywhere else; nil when it could not.
  public convenience init?(count: Int, fill: (UnsafeMutableRawBufferPointer) -> Bool) {
    self.init(mapping: count)
    guard unsafe fill(UnsafeMutableRawBufferPointer(start: pages, count: count)) else { return nil }
  }

  /// At most `capacity` bytes, of which `fill` writes as many as it answers; nil when it could not.
  public init?(atMost capacity: Int, fill: (UnsafeMutableRawBufferPointer) -> Int?) {
    let (pages, pageBytes, isLocked) = unsafe SecretBytes.map(capacity)
    guard let count = unsafe fill(UnsafeMutableRawBufferPointer(start: pages, count: capacity)) else {
      unsafe SecretBytes.discard(pages, pageBytes)
      return nil
    }
    precondition((0...capacity).contains(count), "more of a secret than there is room for")
    unsafe self.pages = pages
    self.pageBytes = pageBytes
    self.isLocked = isLocked
    self.count = count
  }

  private init(mapping count: Int) {
    self.count = count
    unsafe (pages, pageBytes, isLocked) = SecretBytes.map(count)
  }

  private static func map(_ count: Int) -> (UnsafeMutableRawPointer, pageBytes: Int, isLocked: Bool) {
    let page = Int(sysconf(Int32(_SC_PAGESIZE)))
    let pageBytes = max(1, (count + page - 1) / page) * page
    let mapped = unsafe mmap(nil, pageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    guard let mapped = unsafe mapped, unsafe mapped != MAP_FAILED else {
      preconditionFailure("the kernel has not a page left for a key")
    }
    let isLocked = unsafe mlock(mapped, pageBytes) == 0
    unsafe _ = madvise(mapped, pageBytes, MADV_DONTDUMP)
    return unsafe (mapped, pageBytes, isLocked)
  }

  deinit { unsafe SecretBytes.discard(pages, pageBytes) }

  private static func discard(_ pages: UnsafeMutableRawPointer, _ pageBytes: Int) {
    unsafe explicit_bzero(pages, pageBytes)
    // Unmapping unlocks.
    unsafe _ = munmap(pages, pageBytes)
  }

  /// The bytes where they are, for the length of the call: no copy is made.
  public func withBytes<Answer>(_ use: (UnsafeRawBufferPointer) -> Answer) -> Answer {
    unsafe use(UnsafeRawBufferPointer(start: pages, count: count))
  }

  public var description: String { "a secret" }
  public var customMirror: Mirror { Mirror(self, children: []) }
}
