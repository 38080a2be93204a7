// The log on disk: one file that is written, closed ones beside it, a lock. Source: docs/audit.md, "Files".
//
//   audit.jsonl                  written now
//   audit.jsonl.000000000001     closed; the number is that of its first line
//   audit.jsonl.torn-000000042   what a crash left half-written where line 42 should begin
//   audit.jsonl.lock             held by the one relay that writes

internal import Audit
internal import Glibc
public import Primitives

public struct TrailFile: TrailStorage {
  /// As they were at the start; of those only the path is for this place.
  public let settings: TrailSettings
  private var lock: Int32 = -1
  private var descriptor: Int32 = -1
  private var identity = FileMark(device: 0, inode: 0)
  /// Bytes of whole lines: where the next one belongs.
  public private(set) var byteCount = 0
  /// The file may be longer than `byteCount`: a write failed half-way.
  private var isRagged = false
  /// Number of the first line of this file; nil while it has none.
  private var firstSeq: UInt64?
  /// When its name was looked up last. Unit: milliseconds of the kernel's steady clock.
  private var lookedAt: Int64 = .min / 2

  /// Bytes at the end that are looked at after a start. Reason: a crash tears at most the batches of a moment.
  static let tailBytes = 8 * AuditLine.bytesMost

  /// Between two look-ups of its name. Unit: milliseconds.
  private static let lookEvery: Int64 = 250

  public init(_ settings: TrailSettings) {
    self.settings = settings
  }

  private var path: String { settings.path }

  // MARK: opening

  /// Makes this process the one that writes the log. Throws `locked` when another one is.
  public mutating func takeLock() throws(TrailError) {
    guard lock < 0 else { return }
    let folder = TrailFile.folder(of: path)
    if unsafe mkdir(folder, 0o750) != 0, errno != EEXIST { throw TrailError(path, "mkdir", errno) }
    let opened = unsafe Glibc.open(path + ".lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard opened >= 0 else { throw TrailError(path, "open", errno) }
    guard flock(opened, LOCK_EX | LOCK_NB) == 0 else {
      let number = errno
      _ = Glibc.close(opened)
      if number == EWOULDBLOCK { throw .locked(path: path) }
      throw TrailError(path, "flock", number)
    }
    lock = opened
  }

  public mutating func open() throws(TrailError) -> TrailOpening {
    try takeLock()
    try openFile()
    guard byteCount > 0 else { return TrailOpening(head: closedHead(), continuesInNewFile: hasClosed) }
    let bytes = try read(from: max(0, byteCount - TrailFile.tailBytes), to: byteCount)
    let (head, end) = TrailFile.end(of: bytes, isWhole: bytes.count == byteCount)
    guard let head else { return try setAsideWhole() }
    let torn = end < bytes.count ? try setAside(bytes[end...], next: head.seq + 1) : nil
    firstSeq = try firstLine()?.seq ?? head.seq
    return TrailOpening(head: head, torn: torn)
  }

  private mutating func openFile() throws(TrailError) {
    close()
    var isNew = true
    var opened = unsafe Glibc.open(
      path, O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0o640)
    if opened < 0, errno == EEXIST {
      isNew = false
      // Non-blocking: a pipe in its place must not hang the worker.
      opened = unsafe Glibc.open(path, O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
    }
    guard opened >= 0 else { throw TrailError(path, "open", errno) }
    var status = stat()
    guard unsafe fstat(opened, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      _ = Glibc.close(opened)
      throw .notAFile(path: path)
    }
    // The group of the service's user may read it, whatever the umask says; an older file keeps its mode.
    if isNew { _ = fchmod(opened, 0o640) }
    descriptor = opened
    identity = FileMark(status)
    byteCount = Int(status.st_size)
    isRagged = false
    firstSeq = nil
    if isNew { PlainFiles.flush(folder: TrailFile.folder(of: path)) }
  }

  /// The last line that is sound, and where it ends. What follows it was torn.
  private static func end(of bytes: [UInt8], isWhole: Bool) -> (head: AuditHead?, end: Int) {
    var start = 0
    if !isWhole {
      // The window begins inside a line.
      guard let newline = bytes.firstIndex(of: UInt8(ascii: "\n")) else { return (nil, 0) }
      start = newline + 1
    }
    var head: AuditHead?
    while let newline = bytes[start...].firstIndex(of: UInt8(ascii: "\n")) {
      guard let line = AuditLine(bytes[start..<newline]),
        head.map({ line.prev == $0.hash && line.seq == $0.seq + 1 }) ?? true
      else { break }
      head = line.head
      start = newline + 1
    }
    return (head, start)
  }

  /// Moves what a crash left behind the last whole line into a file of its own.
  private mutating func setAside(_ bytes: ArraySlice<UInt8>, next: UInt64) throws(TrailError) -> String {
    let name = freeName(path + ".torn-" + TrailFile.number(next))
    let file = unsafe Glibc.open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o640)
    guard file >= 0 else { throw TrailError(name, "open", errno) }
    defer { _ = Glibc.close(file) }
    _ = fchmod(file, 0o640)
    if let number = PlainFiles.write(bytes, to: file) {
      _ = unsafe unlink(name)
      throw TrailError(name, "write", number)
    }
    // Only when it is safe there may it go here.
    guard fsync(file) == 0 else { throw TrailError(name, "fsync", errno) }
    byteCount -= bytes.count
    try cut()
    PlainFiles.flush(folder: TrailFile.folder(of: path))
    return TrailFile.name(of: name)
  }

  /// No line of it can be used: the whole file goes, and the chain goes on after the closed ones.
  private mutating func setAsideWhole() throws(TrailError) -> TrailOpening {
    let head = closedHead()
    let name = freeName(path + ".torn-" + TrailFile.number(head.seq + 1))
    guard unsafe rename(path, name) == 0 else { throw TrailError(path, "rename", errno) }
    try openFile()
    return TrailOpening(head: head, torn: TrailFile.name(of: name), continuesInNewFile: hasClosed)
  }

  // MARK: writing

  public mutating func hasLostFile() throws(TrailError) -> Bool {
    var status = stat()
    // Its name is looked up a few times a second: moved away, it still takes what is written. Removed or replaced,
    // it would take it out of the world.
    let now = TrailFile.coarseNow
    let mayWait = now - lookedAt < TrailFile.lookEvery && now >= lookedAt
    if mayWait, unsafe fstat(descriptor, &status) == 0, status.st_nlink > 0 { return false }
    lookedAt = now
    guard unsafe stat(path, &status) == 0 else {
      guard errno == ENOENT else { throw TrailError(path, "stat", errno) }
      try openFile()
      return true
    }
    guard FileMark(status) == identity else { throw .replaced(path: path) }
    return false
  }

  public mutating func append(_ lines: [UInt8], syncing: Bool) throws(TrailError) {
    if isRagged { try cut() }
    if let number = PlainFiles.write(lines[...], to: descriptor) {
      isRagged = true
      // At once, so that readers see whole lines only; if it fails, it is tried again before the next write.
      try? cut()
      throw TrailError(path, "write", number)
    }
    if syncing, fdatasync(descriptor) != 0 {
      // Nobody knows what reached the disk: it is written anew.
      let number = errno
      isRagged = true
      try? cut()
      throw TrailError(path, "fdatasync", number)
    }
    if firstSeq == nil, let end = lines.firstIndex(of: UInt8(ascii: "\n")) {
      firstSeq = AuditLine(lines[..<end])?.seq
    }
    byteCount += lines.count
  }

  private mutating func cut() throws(TrailError) {
    guard ftruncate(descriptor, off_t(byteCount)) == 0 else { throw TrailError(path, "ftruncate", errno) }
    isRagged = false
  }

  public mutating func rotate(next: UInt64) throws(TrailError) {
    if isRagged { try cut() }
    _ = fsync(descriptor)
    let name = freeName(path + "." + TrailFile.number(firstSeq ?? next))
    guard unsafe rename(path, name) == 0 else { throw TrailError(path, "rename", errno) }
    PlainFiles.flush(folder: TrailFile.folder(of: path))
    try openFile()
  }

  // MARK: older files

  public mutating func removeFiles(writtenBefore moment: Timestamp) -> [String] {
    let folder = TrailFile.folder(of: path)
    var removed: [String] = []
    for name in siblings.sorted() {
      let file = folder + "/" + name
      var status = stat()
      guard unsafe lstat(file, &status) == 0, status.st_mode & S_IFMT == S_IFREG,
        Int64(status.st_mtim.tv_sec) < moment.seconds, unsafe unlink(file) == 0
      else { continue }
      removed.append(name)
    }
    return removed
  }

  private var hasClosed: Bool { siblings.contains { !$0.contains(".torn-") } }

  /// Where the newest closed file ends; `none` when there is none that can be read.
  private func closedHead() -> AuditHead {
    let folder = TrailFile.folder(of: path)
    for name in siblings.filter({ !$0.contains(".torn-") }).sorted().reversed() {
      let file = unsafe Glibc.open(folder + "/" + name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
      guard file >= 0 else { continue }
      defer { _ = Glibc.close(file) }
      let size = Int(lseek(file, 0, SEEK_END))
      let start = max(0, size - TrailFile.tailBytes)
      let bytes = TrailFile.read(file, from: start, to: size)
      if let head = TrailFile.end(of: bytes, isWhole: start == 0).head { return head }
    }
    return .none
  }

  /// Names of closed and torn files of this log.
  private var siblings: [String] {
    let own = TrailFile.name(of: path)
    return PlainFiles.names(in: TrailFile.folder(of: path)).filter { TrailNames.isOlder($0, of: own) }
  }

  // MARK: leaves

  /// Lets go of the log; the lock last.
  public mutating func release() {
    close()
    if lock >= 0 { _ = Glibc.close(lock) }
    lock = -1
  }

  private mutating func close() {
    if descriptor >= 0 { _ = Glibc.close(descriptor) }
    descriptor = -1
  }

  private func firstLine() throws(TrailError) -> AuditLine? {
    let bytes = try read(from: 0, to: min(byteCount, AuditLine.bytesMost + 1))
    guard let end = bytes.firstIndex(of: UInt8(ascii: "\n")) else { return nil }
    return AuditLine(bytes[..<end])
  }

  private func read(from start: Int, to end: Int) throws(TrailError) -> [UInt8] {
    let bytes = TrailFile.read(descriptor, from: start, to: end)
    guard bytes.count == end - start else { throw TrailError(path, "read", errno) }
    return bytes
  }

  private static func read(_ descriptor: Int32, from start: Int, to end: Int) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: max(0, end - start))
    var done = 0
    while done < bytes.count {
      let count = unsafe bytes.withUnsafeMutableBytes { buffer in
        unsafe pread(
          descriptor, buffer.baseAddress.map { unsafe $0 + done }, buffer.count - done, off_t(start + done))
      }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { break }
      done += count
    }
    bytes.removeLast(bytes.count - done)
    return bytes
  }

  /// A tick's precision is enough, and costs no system call.
  private static var coarseNow: Int64 {
    var time = timespec()
    _ = unsafe clock_gettime(CLOCK_MONOTONIC_COARSE, &time)
    return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
  }

  private func freeName(_ wanted: String) -> String {
    var (name, attempt) = (wanted, 1)
    while unsafe access(name, F_OK) == 0 {
      attempt += 1
      name = wanted + "-\(attempt)"
    }
    return name
  }

  private static func number(_ seq: UInt64) -> String {
    let digits = String(seq)
    return String(repeating: "0", count: max(0, 12 - digits.utf8.count)) + digits
  }

  private static func folder(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/") else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
  }

  private static func name(of path: String) -> String {
    path.lastIndex(of: "/").map { String(path[path.index(after: $0)...]) } ?? path
  }
}

/// Which file it is, whatever its name.
private struct FileMark: Equatable, Sendable {
  let device: UInt64
  let inode: UInt64

  init(device: UInt64, inode: UInt64) {
    self.device = device
    self.inode = inode
  }

  init(_ status: stat) { self.init(device: UInt64(status.st_dev), inode: UInt64(status.st_ino)) }
}

/// The names of a log's files.
enum TrailNames {
  /// `name` is a closed or torn file of the log whose newest file is called `own`.
  static func isOlder(_ name: String, of own: String) -> Bool {
    guard name.hasPrefix(own + ".") else { return false }
    var rest = name.dropFirst(own.count + 1)
    if rest.hasPrefix("torn-") { rest = rest.dropFirst("torn-".count) }
    let digits = rest.prefix { $0.isASCII && $0.isNumber }
    let more = rest.dropFirst(digits.count)
    // A number of at least twelve digits, and `-2` when the name was taken.
    return digits.count >= 12
      && (more.isEmpty || more.first == "-" && more.dropFirst().allSatisfy(\.isNumber))
  }
}
