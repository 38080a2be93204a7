// Where a secret lies while it must be kept: in pages of its own, which the kernel locks where it may (so that they are
// never written to swap), which core dumps leave out, and which are wiped when nobody holds them any more.
// Copies that a caller makes are the caller's.

import Glibc

/// A secret of fixed length. Descriptions and mirrors say nothing about it.
@safe
public final class SecretBytes: Sendable, CustomStringConvertible, CustomReflectable {
  // Written once, in the initializer.
  nonisolated(unsafe) private let pages: UnsafeMutableRawPointer
  private let pageBytes: Int
  public let count: Int
  /// False where RLIMIT_MEMLOCK did not allow it.
  public let isLocked: Bool

  public convenience init(_ bytes: [UInt8]) {
    self.init(mapping: bytes.count)
    unsafe UnsafeMutableRawBufferPointer(start: pages, count: bytes.count).copyBytes(from: bytes)
  }

  /// Bytes that `fill` writes where they stay, so that no copy is anywhere else; nil when it could not.
  public convenience init?(count: Int, fill: (UnsafeMutableRawBufferPointer) -> Bool) {
    self.init(mapping: count)
    guard unsafe fill(UnsafeMutableRawBufferPointer(start: pages, count: count)) else { return nil }
  }

  private init(mapping count: Int) {
    let page = Int(sysconf(Int32(_SC_PAGESIZE)))
    self.count = count
    pageBytes = max(1, (count + page - 1) / page) * page
    let mapped = unsafe mmap(nil, pageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    guard let mapped = unsafe mapped, unsafe mapped != MAP_FAILED else {
      preconditionFailure("the kernel has not a page left for a key")
    }
    unsafe pages = mapped
    isLocked = unsafe mlock(mapped, pageBytes) == 0
    unsafe _ = madvise(mapped, pageBytes, MADV_DONTDUMP)
  }

  deinit {
    unsafe explicit_bzero(pages, pageBytes)
    // Unmapping unlocks.
    unsafe _ = munmap(pages, pageBytes)
  }

  /// The bytes where they are, for the length of the call: no copy is made.
  public func withBytes<Answer>(_ use: (UnsafeRawBufferPointer) -> Answer) -> Answer {
    unsafe use(UnsafeRawBufferPointer(start: pages, count: count))
  }

  /// The bytes, for the moment in which they are used.
  public func copy() -> [UInt8] { unsafe Array(UnsafeRawBufferPointer(start: pages, count: count)) }

  public var description: String { "a secret" }
  public var customMirror: Mirror { Mirror(self, children: []) }
}
