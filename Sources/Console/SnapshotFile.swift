// The file of `snapshot export` and `snapshot import` on this side: read in pieces, and written so that its name
// never stands for half of it.

import Glibc
import Primitives

/// Why a file cannot be read or written.
enum SnapshotFileError: Explained, Equatable {
  case cannot(String, path: String, number: Int32)
  case notAFile(path: String)

  var what: String {
    switch self {
    case .cannot(let what, let path, let number):
      unsafe "Cannot \(what) \(path) (\(String(cString: strerror(number))))"
    case .notAFile(let path): "\(path) is no regular file"
    }
  }

  var howToFix: String {
    switch self {
    case .cannot(_, _, ENOSPC): "Make room, or give another place"
    case .cannot, .notAFile: ""
    }
  }

  var blame: Blame { .operator }
}

/// A file that comes into being: under another name until it is whole and on the disk. Nothing stays of one that is
/// given up.
struct NewSnapshotFile: ~Copyable {
  private let path: String
  private let draft: String
  private let descriptor: Int32
  private var isFinished = false

  /// Readable by its owner alone: it holds whatever the relay serves.
  init(_ path: String) throws(SnapshotFileError) {
    let name = path.split(separator: "/").last.map(String.init) ?? ""
    let draft = "\(NewSnapshotFile.folder(of: path))/.\(name).\(getpid()).partial"
    descriptor = try NewSnapshotFile.make(draft, for: path)
    self.path = path
    self.draft = draft
  }

  private static func make(_ draft: String, for path: String) throws(SnapshotFileError) -> Int32 {
    var facts = stat()
    if unsafe stat(path, &facts) == 0, facts.st_mode & S_IFMT != S_IFREG { throw .notAFile(path: path) }
    let descriptor = unsafe open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard descriptor >= 0 else { throw .cannot("make", path: draft, number: errno) }
    return descriptor
  }

  deinit {
    close(descriptor)
    if !isFinished { unsafe unlink(draft) }
  }

  mutating func write(_ bytes: [UInt8]) throws(SnapshotFileError) {
    if let number = PlainFiles.write(bytes[...], to: descriptor) {
      throw .cannot("write", path: draft, number: number)
    }
  }

  /// Gives it its name, in place of a file that has it.
  mutating func finish() throws(SnapshotFileError) {
    guard fsync(descriptor) == 0 else { throw .cannot("write", path: draft, number: errno) }
    guard unsafe rename(draft, path) == 0 else { throw .cannot("make", path: path, number: errno) }
    isFinished = true
    PlainFiles.flush(folder: NewSnapshotFile.folder(of: path))
  }

  private static func folder(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/") else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
  }
}

/// A file that is there, read from its beginning.
struct OpenSnapshotFile: ~Copyable {
  private let path: String
  private let descriptor: Int32

  init(_ path: String) throws(SnapshotFileError) {
    descriptor = try OpenSnapshotFile.open(path)
    self.path = path
  }

  private static func open(_ path: String) throws(SnapshotFileError) -> Int32 {
    // A named pipe must not make the command wait for ever.
    let descriptor = unsafe Glibc.open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw .cannot("read", path: path, number: errno) }
    var facts = stat()
    guard unsafe fstat(descriptor, &facts) == 0, facts.st_mode & S_IFMT == S_IFREG else {
      close(descriptor)
      throw .notAFile(path: path)
    }
    return descriptor
  }

  deinit { close(descriptor) }

  /// The next bytes, at most `count`; none at the end.
  borrowing func read(_ count: Int) throws(SnapshotFileError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    while true {
      let found = unsafe bytes.withUnsafeMutableBytes {
        unsafe Glibc.read(descriptor, $0.baseAddress, $0.count)
      }
      if found < 0, errno == EINTR { continue }
      guard found >= 0 else { throw .cannot("read", path: path, number: errno) }
      bytes.removeLast(count - found)
      return bytes
    }
  }
}
