// Reading small files and their stat, and the words for errno. The only place of this room that calls the system.

import Glibc

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
    var content: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 16 * 1024)
    while true {
      let count = unsafe Glibc.read(descriptor, &chunk, chunk.count)
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else { throw .fileUnreadable(path: path, number: errno) }
      guard count > 0 else { return content }
      content.append(contentsOf: chunk[..<count])
      guard content.count <= bytesMax else { throw .fileTooLarge(path: path, limit: bytesMax) }
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
