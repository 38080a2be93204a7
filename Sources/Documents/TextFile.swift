// Files and folders that an operator names: reading them whole, and what their paths mean.
// For configuration, policy and check only; it blocks, so no loop may call it.

import Glibc

/// A file as it was read.
public struct FileText: Sendable, Equatable {
  public var path: String
  public var bytes: [UInt8]

  public init(path: String, bytes: [UInt8]) {
    self.path = path
    self.bytes = bytes
  }
}

public enum TextFile {
  /// All bytes of a file. Throws a problem at the file's start when it cannot be read or has more bytes.
  public static func read(_ path: String, bytesMax: Int = 64 << 20) throws(Problem) -> [UInt8] {
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw unreadable(path, errno) }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var block = [UInt8](repeating: 0, count: 64 << 10)
    while true {
      let count = unsafe block.withUnsafeMutableBytes {
        unsafe Glibc.read(descriptor, $0.baseAddress, $0.count)
      }
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { throw unreadable(path, errno) }
      guard count > 0 else { return bytes }
      bytes += block[..<count]
      guard bytes.count <= bytesMax else {
        throw Problem(.start(of: path), "the file has more than \(ByteSize.text(bytesMax))")
      }
    }
  }

  public static func isFolder(_ path: String) -> Bool {
    var facts = stat()
    return unsafe stat(path, &facts) == 0 && facts.st_mode & S_IFMT == S_IFDIR
  }

  /// Names in a folder, sorted as bytes, without those that begin with a dot.
  public static func names(inFolder path: String) throws(Problem) -> [String] {
    guard let folder = unsafe opendir(path) else { throw unreadable(path, errno) }
    defer { unsafe closedir(folder) }
    var names: [String] = []
    while let entry = unsafe readdir(folder) {
      let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
        unsafe $0.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
      }
      if !name.hasPrefix(".") { names.append(name) }
    }
    return names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
  }

  /// `path` as seen from the folder that holds `file`; an absolute path is itself.
  public static func resolve(_ path: String, besideFile file: String) -> String {
    guard !path.hasPrefix("/"), let slash = file.lastIndex(of: "/") else { return path }
    return file[...slash] + path
  }

  private static func unreadable(_ path: String, _ code: Int32) -> Problem {
    let fix =
      switch code {
      case ENOENT: "create it or correct the path"
      case EACCES: "let this user read it"
      default: ""
      }
    return Problem(
      .start(of: path), "cannot be read", why: unsafe String(cString: strerror(code)).lowercased(),
      howToFix: fix)
  }
}
