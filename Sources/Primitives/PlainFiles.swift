// Plain files, in three pieces that every room which keeps some needs: write it all, make names last, see what is there.
// Each call blocks: for workers and commands, never for a serve loop. Source: write(2), fsync(2), readdir(3).

import Glibc

public enum PlainFiles {
  /// Writes everything. The errno of the write that failed; nil when all was written. A file that takes nothing counts
  /// as full.
  public static func write(_ bytes: ArraySlice<UInt8>, to descriptor: Int32) -> Int32? {
    var written = 0
    while written < bytes.count {
      let count = unsafe bytes.withUnsafeBytes { buffer in
        unsafe Glibc.write(descriptor, buffer.baseAddress.map { unsafe $0 + written }, buffer.count - written)
      }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { return count < 0 ? errno : ENOSPC }
      written += count
    }
    return nil
  }

  /// Makes names that were added or changed survive a loss of power. The errno of what failed.
  @discardableResult
  public static func flush(folder: String) -> Int32? {
    let descriptor = unsafe open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { return errno }
    defer { _ = close(descriptor) }
    return fsync(descriptor) == 0 ? nil : errno
  }

  /// Names in a folder without the two dots, in no order; none when it cannot be read.
  public static func names(in folder: String) -> [String] {
    guard let stream = unsafe opendir(folder) else { return [] }
    defer { unsafe _ = closedir(stream) }
    var names: [String] = []
    while let entry = unsafe readdir(stream) {
      let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names
  }
}
