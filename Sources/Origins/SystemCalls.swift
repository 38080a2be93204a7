// The file calls this room needs, with results instead of errno. They may wait for a disk: workers only.

import Glibc

/// A failed call.
struct SystemError: Error {
  let number: Int32

  var text: String { SystemError.text(number) }

  /// "No such file or directory".
  static func text(_ number: Int32) -> String {
    guard let message = unsafe strerror(number) else { return "error \(number)" }
    return unsafe String(cString: message)
  }
}

struct FileStatus {
  enum Kind {
    case folder
    case file
    case link
    case other
  }

  let kind: Kind
  let stamp: FileStamp

  var id: FolderID { FolderID(device: stamp.device, inode: stamp.inode) }

  init(_ status: stat) {
    kind =
      switch status.st_mode & S_IFMT {
      case S_IFDIR: .folder
      case S_IFREG: .file
      case S_IFLNK: .link
      default: .other
      }
    stamp = FileStamp(
      device: UInt64(status.st_dev), inode: UInt64(status.st_ino), size: Int64(status.st_size),
      modified: Self.nanoseconds(status.st_mtim), changed: Self.nanoseconds(status.st_ctim))
  }

  /// Wraps for times outside ±292 years: such stamps are still compared for equality only.
  private static func nanoseconds(_ time: timespec) -> Int64 {
    Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec)
  }
}

enum SystemCalls {
  static func status(_ path: String, followingLinks: Bool) -> Result<FileStatus, SystemError> {
    var status = stat()
    let result = unsafe fstatat(AT_FDCWD, path, &status, followingLinks ? 0 : AT_SYMLINK_NOFOLLOW)
    return result == 0 ? .success(FileStatus(status)) : .failure(SystemError(number: errno))
  }

  /// A name in a folder.
  struct Entry {
    let name: String
    /// It is a regular file and no link to one: nothing more need be asked about it.
    let isPlainFile: Bool
  }

  /// Entries of a folder without `.` and `..`, in no order. Names that are not UTF-8 are left out.
  static func entries(in folder: String) -> Result<[Entry], SystemError> {
    guard let stream = unsafe opendir(folder) else { return .failure(SystemError(number: errno)) }
    defer { _ = unsafe closedir(stream) }
    var entries: [Entry] = []
    errno = 0
    while let entry = unsafe readdir(stream) {
      let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        unsafe String(validating: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      let isPlainFile = unsafe Int(entry.pointee.d_type) == Int(DT_REG)
      if let name, name != ".", name != ".." { entries.append(Entry(name: name, isPlainFile: isPlainFile)) }
      errno = 0
    }
    return errno == 0 ? .success(entries) : .failure(SystemError(number: errno))
  }

  /// The path without any link; nil when it leads nowhere.
  static func realPath(_ path: String) -> String? {
    guard let resolved = unsafe realpath(path, nil) else { return nil }
    defer { unsafe free(resolved) }
    return unsafe String(validatingCString: resolved)
  }

  /// The content of a regular file with the stamp it had before and after: equal stamps mean that nobody wrote in between.
  static func read(
    _ path: String, bytesMax: Int
  ) -> Result<(bytes: [UInt8], before: FileStamp, after: FileStamp), SystemError> {
    // Non-blocking: opening a pipe that took the file's place must not hang the worker.
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { return .failure(SystemError(number: errno)) }
    defer { _ = close(descriptor) }
    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0 else { return .failure(SystemError(number: errno)) }
    let before = FileStatus(status)
    guard before.kind == .file else { return .failure(SystemError(number: EINVAL)) }
    guard before.stamp.size <= Int64(bytesMax) else { return .failure(SystemError(number: EFBIG)) }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(Int(before.stamp.size))
    var buffer = [UInt8](repeating: 0, count: 128 * 1024)
    while true {
      let count = unsafe buffer.withUnsafeMutableBytes {
        unsafe Glibc.read(descriptor, $0.baseAddress, $0.count)
      }
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { return .failure(SystemError(number: errno)) }
      if count == 0 { break }
      guard bytes.count + count <= bytesMax else { return .failure(SystemError(number: EFBIG)) }
      bytes.append(contentsOf: buffer[..<count])
    }
    guard unsafe fstat(descriptor, &status) == 0 else { return .failure(SystemError(number: errno)) }
    return .success((bytes, before.stamp, FileStatus(status).stamp))
  }
}
