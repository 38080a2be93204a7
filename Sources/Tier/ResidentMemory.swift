// How much memory this process holds, as the kernel counts it.

import Glibc

enum ResidentMemory {
  /// Nil where /proc cannot be read. Source: proc(5), statm: the second number, in pages.
  static var bytes: UInt64? {
    guard let file = unsafe fopen("/proc/self/statm", "re") else { return nil }
    defer { unsafe fclose(file) }
    var line = [CChar](repeating: 0, count: 128)
    guard unsafe fgets(&line, Int32(line.count), file) != nil else { return nil }
    let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    let numbers = text.split(separator: " ")
    guard numbers.count > 1, let pages = UInt64(numbers[1]) else { return nil }
    return pages * UInt64(sysconf(Int32(_SC_PAGESIZE)))
  }
}
