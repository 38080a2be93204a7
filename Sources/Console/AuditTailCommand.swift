// `meshrelay audit tail`: prints the newest lines of a log and goes on as they are written, through rotations.
// Lines come out whole and as they stand: other programs read them.

import Glibc

public struct AuditTailCommand: Sendable {
  public var path: String
  /// Lines to begin with.
  public var lines: Int
  /// Goes on until interrupted.
  public var follow: Bool

  public init(path: String, lines: Int, follow: Bool) {
    self.path = path
    self.lines = lines
    self.follow = follow
  }

  /// Between two looks at the file.
  private static let interval = timespec(tv_sec: 0, tv_nsec: 200_000_000)
  private static let chunkBytes = 64 * 1024

  /// Returns the exit code: 1 when the file cannot be read.
  public func run() -> Int32 {
    var descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      printError("meshrelay audit tail: \(path): \(unsafe String(cString: strerror(errno)))\n")
      return 1
    }
    seek(descriptor)
    while true {
      // What the old file got until it was closed comes before the new one's first line.
      let isClosed = follow && !isCurrent(descriptor)
      guard copy(descriptor) else {
        printError("meshrelay audit tail: \(path): \(unsafe String(cString: strerror(errno)))\n")
        return 1
      }
      guard follow else { return 0 }
      if isClosed {
        let next = unsafe open(path, O_RDONLY | O_CLOEXEC)
        if next >= 0 {
          close(descriptor)
          descriptor = next
          continue
        }
      }
      var pause = AuditTailCommand.interval
      unsafe nanosleep(&pause, nil)
    }
  }

  /// Goes to where the last `lines` lines begin.
  private func seek(_ descriptor: CInt) {
    let end = lseek(descriptor, 0, SEEK_END)
    var position = end
    // One newline more than lines: the one before the first of them.
    var missing = lines + 1
    var chunk = [UInt8](repeating: 0, count: AuditTailCommand.chunkBytes)
    while position > 0 {
      let start = max(0, position - AuditTailCommand.chunkBytes)
      let count = unsafe pread(descriptor, &chunk, position - start, off_t(start))
      guard count > 0 else { break }
      for offset in (0..<count).reversed() where chunk[offset] == UInt8(ascii: "\n") {
        missing -= 1
        guard missing == 0 else { continue }
        lseek(descriptor, off_t(start + offset + 1), SEEK_SET)
        return
      }
      position = start
    }
    lseek(descriptor, 0, SEEK_SET)
  }

  /// The path still names this file.
  private func isCurrent(_ descriptor: CInt) -> Bool {
    var (own, named) = (Glibc.stat(), Glibc.stat())
    guard unsafe fstat(descriptor, &own) == 0, unsafe stat(path, &named) == 0 else { return false }
    return own.st_dev == named.st_dev && own.st_ino == named.st_ino
  }

  /// Prints what is there. The writer adds whole lines with one call, so that none is seen half.
  private func copy(_ descriptor: CInt) -> Bool {
    var chunk = [UInt8](repeating: 0, count: AuditTailCommand.chunkBytes)
    while true {
      let count = unsafe read(descriptor, &chunk, chunk.count)
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { return count == 0 }
      printBytes(chunk[..<count])
    }
  }
}
