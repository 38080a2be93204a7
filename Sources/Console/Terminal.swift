// Standard output and standard error of a command, unbuffered and whole.

import Glibc

func printText(_ text: String) { write(text, to: STDOUT_FILENO) }
/// Bytes that are text already.
func printBytes(_ bytes: ArraySlice<UInt8>) { write(bytes, to: STDOUT_FILENO) }
func printError(_ text: String) { write(text, to: STDERR_FILENO) }

/// A reader that went away (a closed pipe) ends the output, not the command.
private func write(_ text: String, to descriptor: CInt) {
  write(Array(text.utf8)[...], to: descriptor)
}

private func write(_ bytes: ArraySlice<UInt8>, to descriptor: CInt) {
  var written = 0
  while written < bytes.count {
    let count = unsafe bytes.withUnsafeBytes { buffer in
      unsafe Glibc.write(descriptor, buffer.baseAddress.map { unsafe $0 + written }, buffer.count - written)
    }
    if count < 0, errno == EINTR { continue }
    guard count > 0 else { return }
    written += count
  }
}
