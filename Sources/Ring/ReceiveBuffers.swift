// The buffers the kernel receives into: one provided buffer ring per loop, shared by all its sockets, so
// that an idle connection owns no receive memory.
//
// io_uring_register_buf_ring(3): an array of descriptors in pages of our own, filled at its tail by us and
// emptied at its head by the kernel. liburing 2.3 has no call that makes the whole of it, so this file
// does.

import CLiburing
import Glibc

/// `count` buffers of `bytesEach` bytes, lent to the kernel one by one and given back after each batch.
@safe
final class ReceiveBuffers {
  /// A power of two.
  let count: Int
  let bytesEach: Int
  private let ring: RingMemory
  private let table: UnsafeMutablePointer<io_uring_buf_ring>
  private let tableBytes: Int
  private let memory: UnsafeMutableRawPointer
  private let mask: Int32
  /// Buffers of the current batch; 0 ≤ lentCount ≤ count.
  private let lent: UnsafeMutablePointer<UInt16>
  private var lentCount = 0

  init(ring: RingMemory, count: Int, bytesEach: Int) throws(RingError) {
    precondition(count.nonzeroBitCount == 1 && count <= 32_768, "a buffer ring has 2^n ≤ 32,768 buffers")
    tableBytes = count * MemoryLayout<io_uring_buf>.stride
    let pages = unsafe mmap(nil, tableBytes, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE, -1, 0)
    guard let pages = unsafe pages, unsafe pages != UnsafeMutableRawPointer(bitPattern: -1) else {
      throw .resourceRefused(call: "mmap of a buffer ring", errno: errno)
    }
    self.ring = ring
    self.count = count
    self.bytesEach = bytesEach
    unsafe table = pages.bindMemory(to: io_uring_buf_ring.self, capacity: 1)
    unsafe memory = .allocate(byteCount: count * bytesEach, alignment: 4096)
    unsafe lent = .allocate(capacity: count)
    mask = io_uring_buf_ring_mask(UInt32(count))
    unsafe io_uring_buf_ring_init(table)
    var registration = io_uring_buf_reg()
    registration.ring_addr = UInt64(UInt(bitPattern: pages))
    registration.ring_entries = UInt32(count)
    registration.bgid = RingMemory.bufferGroup
    let answer = unsafe io_uring_register_buf_ring(ring.ring, &registration, 0)
    guard answer == 0 else { throw .resourceRefused(call: "io_uring_register_buf_ring", errno: -answer) }
    for index in 0..<count {
      add(UInt16(index), offset: Int32(index))
    }
    unsafe io_uring_buf_ring_advance(table, Int32(count))
  }

  deinit {
    // The kernel forgets the table before its pages go; operations were cancelled before that.
    _ = unsafe io_uring_unregister_buf_ring(ring.ring, Int32(RingMemory.bufferGroup))
    unsafe munmap(table, tableBytes)
    unsafe memory.deallocate()
    unsafe lent.deallocate()
  }

  /// The bytes of a buffer the kernel filled; it is ours until `giveBack`.
  func take(_ index: UInt16) -> UnsafeRawPointer {
    precondition(Int(index) < count && lentCount < count, "the kernel named a buffer it was not given")
    unsafe lent[lentCount] = index
    lentCount += 1
    return unsafe UnsafeRawPointer(memory + Int(index) * bytesEach)
  }

  /// Lends every taken buffer to the kernel again.
  func giveBack() {
    guard lentCount > 0 else { return }
    for position in 0..<lentCount {
      unsafe add(lent[position], offset: Int32(position))
    }
    unsafe io_uring_buf_ring_advance(table, Int32(lentCount))
    lentCount = 0
  }

  private func add(_ index: UInt16, offset: Int32) {
    unsafe io_uring_buf_ring_add(
      table, memory + Int(index) * bytesEach, UInt32(bytesEach), index, mask, offset)
  }
}
