// One io_uring at a stable address: made, filled with operations, torn down. The thin safe skin over
// liburing 2.3.
//
// Below `IOURingDriver`, which decides what to submit. A ring serves the thread that made it
// (SINGLE_ISSUER), must not move and must not be used after a fork.

import CLiburing
import CLinux
import Glibc

/// Owner of a `struct io_uring`.
@safe
final class RingMemory {
  let ring: UnsafeMutablePointer<io_uring>
  /// The `IORING_SETUP_…` flags in force.
  let setupFlags: UInt32
  private let kernelFeatures: UInt32

  /// Flags that save CPU and may be missing, in the order in which they are dropped: each one is newer
  /// than, or of use only with, the next.
  static let optionalFlags: [(feature: RingFeature, flag: UInt32)] = [
    (.deferTaskRun, UInt32(IORING_SETUP_DEFER_TASKRUN)),
    (.singleIssuer, UInt32(IORING_SETUP_SINGLE_ISSUER)),
    (.cooperativeTaskRun, UInt32(IORING_SETUP_COOP_TASKRUN)),
  ]

  /// The group of provided buffers that receives draw from.
  static let bufferGroup: UInt16 = 0

  /// `entries` operations per submission, `completions` of them remembered; both are rounded up to powers
  /// of two.
  init(entries: UInt32, completions: UInt32) throws(RingError) {
    var number: Int32 = EINVAL
    for dropped in 0...RingMemory.optionalFlags.count {
      let wanted = RingMemory.optionalFlags.dropFirst(dropped).reduce(0) { $0 | $1.flag }
      let memory = UnsafeMutablePointer<io_uring>.allocate(capacity: 1)
      unsafe memory.initialize(to: io_uring())
      var parameters = io_uring_params()
      parameters.flags = wanted | UInt32(IORING_SETUP_CQSIZE) | UInt32(IORING_SETUP_CLAMP)
      parameters.cq_entries = completions
      let answer = unsafe io_uring_queue_init_params(entries, memory, &parameters)
      if answer >= 0 {
        unsafe ring = memory
        setupFlags = wanted
        kernelFeatures = parameters.features
        return
      }
      unsafe memory.deallocate()
      number = -answer
      guard number == EINVAL else { break }
    }
    throw .ringRefused(errno: number)
  }

  deinit {
    unsafe io_uring_queue_exit(ring)
    unsafe ring.deallocate()
  }

  // MARK: features

  var hasWaitTimeout: Bool { kernelFeatures & UInt32(IORING_FEAT_EXT_ARG) != 0 }

  var supportsOperations: Bool {
    guard let probe = unsafe io_uring_get_probe_ring(ring) else { return false }
    defer { unsafe io_uring_free_probe(probe) }
    return [
      IORING_OP_ACCEPT, IORING_OP_CONNECT, IORING_OP_RECV, IORING_OP_SEND, IORING_OP_POLL_ADD, IORING_OP_READ,
      IORING_OP_ASYNC_CANCEL,
    ].allSatisfy { unsafe io_uring_opcode_supported(probe, Int32($0.rawValue)) != 0 }
  }

  // MARK: operations

  func prepareAccept(_ descriptor: Int32, _ token: OperationToken) {
    let entry = unsafe nextEntry()
    unsafe io_uring_prep_multishot_accept(entry, descriptor, nil, nil, Int32(SOCK_CLOEXEC.rawValue))
    unsafe io_uring_sqe_set_data64(entry, token.bits)
  }

  func prepareReceive(_ descriptor: Int32, _ token: OperationToken) {
    let entry = unsafe nextEntry()
    unsafe io_uring_prep_recv_multishot(entry, descriptor, nil, 0, 0)
    unsafe entry.pointee.flags |= UInt8(1 << IOSQE_BUFFER_SELECT_BIT)
    unsafe entry.pointee.buf_group = RingMemory.bufferGroup
    unsafe io_uring_sqe_set_data64(entry, token.bits)
  }

  func prepareSend(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer, _ token: OperationToken) {
    let entry = unsafe nextEntry()
    let count = min(bytes.count, RingMemory.sendBytesMax)
    unsafe io_uring_prep_send(entry, descriptor, bytes.baseAddress, count, Int32(MSG_NOSIGNAL))
    unsafe io_uring_sqe_set_data64(entry, token.bits)
  }

  /// One send's length field has 32 bits and its result 31.
  private static let sendBytesMax = 1 << 30

  func prepareConnect(_ descriptor: Int32, _ address: SocketAddressMemory, _ token: OperationToken) {
    let entry = unsafe nextEntry()
    unsafe io_uring_prep_connect(entry, descriptor, address.pointer, address.length)
    unsafe io_uring_sqe_set_data64(entry, token.bits)
  }

  func preparePollReadable(_ descriptor: Int32, _ token: OperationToken) {
    let entry = unsafe nextEntry()
    unsafe io_uring_prep_poll_add(entry, descriptor, UInt32(POLLIN))
    unsafe io_uring_sqe_set_data64(entry, token.bits)
  }

  func prepareRead(_ descriptor: Int32, into memory: UnsafeMutableRawBufferPointer, _ token: OperationToken) {
    let entry = unsafe nextEntry()
    unsafe io_uring_prep_read(entry, descriptor, memory.baseAddress, UInt32(memory.count), 0)
    unsafe io_uring_sqe_set_data64(entry, token.bits)
  }

  func prepareCancel(_ token: OperationToken) {
    let entry = unsafe nextEntry()
    unsafe io_uring_prep_cancel64(entry, token.bits, 0)
    unsafe io_uring_sqe_set_data64(entry, OperationToken(.none).bits)
  }

  /// A free submission entry. A full queue is handed to the kernel first, which empties it.
  private func nextEntry() -> UnsafeMutablePointer<io_uring_sqe> {
    if let entry = unsafe io_uring_get_sqe(ring) { return unsafe entry }
    for _ in 0..<RingMemory.submissionTries {
      // Gathering completions as well makes room when the kernel refuses more work for their sake.
      if unsafe io_uring_submit(ring) < 0 { unsafe io_uring_submit_and_get_events(ring) }
      if let entry = unsafe io_uring_get_sqe(ring) { return unsafe entry }
      sched_yield()
    }
    preconditionFailure("the kernel takes no operations from a full io_uring: it is out of memory")
  }

  private static let submissionTries = 1_000

  // MARK: end

  /// Returns when no operation holds memory of ours. Entries not yet submitted are forgotten.
  func cancelEverything() {
    var request = io_uring_sync_cancel_reg()
    request.flags = UInt32(IORING_ASYNC_CANCEL_ANY) | UInt32(IORING_ASYNC_CANCEL_ALL)
    request.timeout.tv_sec = 1
    unsafe io_uring_register_sync_cancel(ring, &request)
  }
}
