// What the tests of this room write to, and how they read it back.

import Audit
import Glibc
import Primitives
import Synchronization
import Testing
import Trail

let noon = Timestamp(seconds: 1_795_435_200)

/// A folder of its own, removed at the end.
final class TemporaryFolder {
  let path: String
  /// A file system of its own, of this many bytes.
  private var isMounted = false

  init(bytes: Int? = nil) {
    var name = Array("/tmp/trail-test-XXXXXX".utf8CString)
    let made = unsafe mkdtemp(&name) != nil
    precondition(made, "no temporary folder can be made")
    path = String(decoding: name.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    if let bytes {
      isMounted = unsafe mount("tmpfs", path, "tmpfs", 0, "size=\(bytes),mode=0700") == 0
    }
  }

  deinit {
    for name in names { unsafe unlink(path + "/" + name) }
    if isMounted { unsafe umount(path) }
    unsafe rmdir(path)
  }

  static let mayMount = TemporaryFolder(bytes: 65_536).isMounted

  var log: String { path + "/audit.jsonl" }

  /// The names in it, sorted.
  var names: [String] {
    guard let folder = unsafe opendir(path) else { return [] }
    defer { unsafe _ = closedir(folder) }
    var names: [String] = []
    while let entry = unsafe readdir(folder) {
      let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name != "." && name != ".." { names.append(name) }
    }
    return names.sorted()
  }

  func bytes(_ name: String = "audit.jsonl") -> [UInt8] {
    let descriptor = unsafe open(path + "/" + name, O_RDONLY)
    guard descriptor >= 0 else { return [] }
    defer { close(descriptor) }
    var buffer = [UInt8](repeating: 0, count: 4 << 20)
    let count = unsafe read(descriptor, &buffer, buffer.count)
    return Array(buffer[..<max(0, count)])
  }

  func write(_ bytes: [UInt8], to name: String = "audit.jsonl") {
    let descriptor = unsafe open(path + "/" + name, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
    unsafe _ = Glibc.write(descriptor, bytes, bytes.count)
    close(descriptor)
  }

  func mode(_ name: String) -> UInt32 {
    var status = stat()
    unsafe stat(path + "/" + name, &status)
    return status.st_mode & 0o7777
  }
}

/// Events in the order written, over files in the order of their records; fails when the chain does not verify.
func events(of files: [[UInt8]], heads: [String] = []) -> [String] {
  var verifier = AuditVerifier(heads: heads)
  var fault: AuditFault?
  for (index, bytes) in files.enumerated() where fault == nil {
    fault = verifier.begin(file: "file \(index)") ?? verifier.receive(bytes)
  }
  #expect((fault ?? verifier.finish()) == nil)
  return files.flatMap { $0.split(separator: UInt8(ascii: "\n")) }.compactMap { AuditLine($0)?.event }
}

/// A writer with an inline worker on a real file.
func writer(
  _ folder: TemporaryFolder, maxBytes: Int = 1 << 20, onFailure: TrailSettings.OnFailure = .stop,
  sync: Bool = false, laneBytes: Int = 64 << 10
) -> TrailWriter {
  let settings = TrailSettings(path: folder.log, maxBytes: maxBytes, onFailure: onFailure, sync: sync)
  return TrailWriter(
    settings, storage: TrailFile(settings), loops: 2, laneBytes: laneBytes, worker: InlineWorker())
}
