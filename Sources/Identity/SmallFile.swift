// Reading small files and their stat, and the words for errno. The only place of this room that calls the system.

import Glibc
import Primitives

/// What `stat` says of a file, as far as a replacement shows in it.
struct FileStamp: Equatable {
  let device: UInt64
  let inode: UInt64
  let size: Int64
  let modified: Int64
  let changed: Int64
  /// Permission bits.
  let mode: UInt32

  /// Follows symbolic links: an atomic swap of a link shows as another inode. Nil when there is no such file.
  init?(path: String) {
    var status = stat()
    guard unsafe stat(path, &status) == 0 else { return nil }
    self.init(status)
  }

  init(_ status: stat) {
    device = UInt64(status.st_dev)
    inode = UInt64(status.st_ino)
    size = Int64(status.st_size)
    modified = FileStamp.nanoseconds(status.st_mtim)
    changed = FileStamp.nanoseconds(status.st_ctim)
    mode = UInt32(status.st_mode) & 0o7777
  }

  var writtenAt: Timestamp { Timestamp(milliseconds: modified / 1_000_000) }

  var text: String { "\(device):\(inode):\(size):\(modified):\(changed)" }

  private static func nanoseconds(_ time: timespec) -> Int64 {
    Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec)
  }
}

/// A file read whole.
struct SmallFile {
  /// Most bytes of a file. Reason: a bundle of hundreds of authorities fits; more is a mistake.
  static let bytesMax = 1024 * 1024

  static func read(_ path: String) throws(IdentityError) -> [UInt8] {
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw .fileUnreadable(path: path, number: errno) }
    defer { close(descriptor) }
    do throws(SystemFault) {
      return try content(of: descriptor, atMost: bytesMax)
    } catch {
      if error.number == EFBIG { throw .fileTooLarge(path: path, limit: bytesMax) }
      throw .fileUnreadable(path: path, number: error.number)
    }
  }
}

extension SmallFile {
  /// Reads a file into locked memory, with no copy anywhere else.
  static func readSecret(_ path: String) throws(IdentityError) -> SecretBytes {
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw .fileUnreadable(path: path, number: errno) }
    defer { close(descriptor) }
    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0 else { throw .fileUnreadable(path: path, number: errno) }
    guard status.st_size <= bytesMax else { throw .fileTooLarge(path: path, limit: bytesMax) }
    // One byte more than there should be tells of a file that grew.
    let expected = max(Int(status.st_size), secretBytes)
    var number: Int32 = 0
    let secret = unsafe SecretBytes(atMost: expected + 1) { room in
      var have = 0
      while have < room.count {
        let count = unsafe Glibc.read(
          descriptor, room.baseAddress.map { unsafe $0 + have }, room.count - have)
        if count < 0 && errno == EINTR { continue }
        guard count >= 0 else {
          number = errno
          return nil
        }
        guard count > 0 else { return have }
        have += count
      }
      return have
    }
    guard let secret else { throw .fileUnreadable(path: path, number: number) }
    guard secret.count <= expected else { throw .changing(path: path) }
    return secret
  }

  /// Room for what says no size.
  private static let secretBytes = 16 * 1024
}

/// What the system said, as errno.
struct SystemFault: Error {
  let number: Int32
}

extension SmallFile {
  /// Reads a file that only our user may write and that is no link; anything else is EPERM.
  static func readPrivate(_ path: String) throws(SystemFault) -> [UInt8] {
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW)
    guard descriptor >= 0 else { throw SystemFault(number: errno) }
    defer { close(descriptor) }
    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0 else { throw SystemFault(number: errno) }
    guard status.st_mode & S_IFMT == S_IFREG, status.st_uid == geteuid(), status.st_mode & 0o077 == 0 else {
      throw SystemFault(number: EPERM)
    }
    return try content(of: descriptor, atMost: 2 * bytesMax)
  }

  /// Writes a new file for our user alone, down to the disk; one that is there already is replaced.
  static func write(_ bytes: [UInt8], to path: String) throws(SystemFault) {
    unsafe _ = unlink(path)
    let descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard descriptor >= 0 else { throw SystemFault(number: errno) }
    defer { close(descriptor) }
    if let number = PlainFiles.write(bytes[...], to: descriptor) { throw SystemFault(number: number) }
    guard fsync(descriptor) == 0 else { throw SystemFault(number: errno) }
  }

  private static func content(of descriptor: Int32, atMost limit: Int) throws(SystemFault) -> [UInt8] {
    var content: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 16 * 1024)
    while true {
      let count = unsafe Glibc.read(descriptor, &chunk, chunk.count)
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else { throw SystemFault(number: errno) }
      guard count > 0 else { return content }
      content.append(contentsOf: chunk[..<count])
      guard content.count <= limit else { throw SystemFault(number: EFBIG) }
    }
  }
}

/// Names and probable causes of errno.
enum SystemError {
  static func name(_ number: Int32) -> String {
    unsafe String(cString: strerror(number))
  }

  static func cause(_ number: Int32) -> String {
    switch number {
    case ENOENT: "The path is wrong, or the file has not been issued yet"
    case EACCES: "The file or a folder above it belongs to another user"
    case EISDIR: "The path is a folder"
    default: ""
    }
  }
}
