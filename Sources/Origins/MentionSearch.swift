// Which of very many files may define one object: each is read once, into the same memory, by as many threads as there
// are processors. Most of the time is the kernel's, for opening and reading.

import Dispatch
import Glibc
import Synchronization

extension FolderWalk {
  /// Leaves the files that may define an object, with their stamps.
  mutating func keep(mentioning mention: Mention, fileBytesMax: Int) {
    // Few files are as well read right away.
    let kept =
      found.count <= MentionSearch.share
      ? Array(found.indices)
      : MentionSearch(mention: mention, fileBytesMax: fileBytesMax).search(found.map(\.path))
    keep(
      kept.map { index in
        var file = found[index]
        // What cannot be looked at any more is told by who reads it.
        if case .success(let status) = SystemCalls.status(file.path, followingLinks: true) {
          file.listed.stamp = status.stamp
        }
        return file
      })
  }
}

struct MentionSearch: Sendable {
  let mention: Mention
  let fileBytesMax: Int

  /// Files that one thread takes at once. Reason: enough for the taking not to count.
  static let share = 256

  /// Places of the files that may define the object, or that cannot be read; ascending.
  func search(_ paths: [String]) -> [Int] {
    let shares = (paths.count + MentionSearch.share - 1) / MentionSearch.share
    let kept = Mutex<[Int]>([])
    DispatchQueue.concurrentPerform(iterations: shares) { share in
      let first = share * MentionSearch.share
      let own = look(at: paths, first..<min(paths.count, first + MentionSearch.share))
      if !own.isEmpty { kept.withLock { $0 += own } }
    }
    return kept.withLock { $0.sorted() }
  }

  private func look(at paths: [String], _ range: Range<Int>) -> [Int] {
    var buffer = [UInt8](repeating: 0, count: 64 * 1024)
    return range.filter { mayBe(in: paths[$0], &buffer) }
  }

  /// True also when the file cannot be read: that is for others to tell.
  private func mayBe(in path: String, _ buffer: inout [UInt8]) -> Bool {
    // Non-blocking: a pipe in the file's place must not hang this.
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { return true }
    defer { _ = close(descriptor) }
    var length = 0
    while true {
      let count = unsafe buffer.withUnsafeMutableBytes { bytes in
        unsafe read(descriptor, bytes.baseAddress.map { unsafe $0 + length }, bytes.count - length)
      }
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { return true }
      length += count
      // A regular file gives less than is asked for at its end only.
      if length < buffer.count { break }
      guard buffer.count <= fileBytesMax else { return true }
      buffer += [UInt8](repeating: 0, count: buffer.count)
    }
    return unsafe buffer.withUnsafeBytes { bytes in
      unsafe mention.mayBe(in: UnsafeRawBufferPointer(rebasing: bytes[..<length]))
    }
  }
}
