// PEM text into labelled DER blocks. Source: RFC 7468. Decoding is OpenSSL's; this file walks the blocks.

import COpenSSL

enum PEM {
  static let certificateLabels = ["CERTIFICATE", "X509 CERTIFICATE"]

  struct Block {
    let label: String
    let content: [UInt8]
  }

  /// All blocks in order; empty when there is none. A block that begins and does not end properly is an error.
  static func blocks(in text: [UInt8]) throws(TLSError) -> [Block] {
    ErrorQueue.clear()
    defer { ErrorQueue.clear() }
    var blocks: [Block] = []
    let failure: TLSError? = unsafe text.withUnsafeBytes { bytes in
      guard let source = unsafe BIOPointer(reading: bytes) else {
        return .certificateUnreadable(index: 0, reason: "the file is too large")
      }
      while let block = next(from: source) { blocks.append(block) }
      let code = ErrorQueue.take()
      return isEnd(code)
        ? nil : .certificateUnreadable(index: blocks.count, reason: ErrorQueue.reason(of: code))
    }
    if let failure { throw failure }
    return blocks
  }

  private static func next(from source: borrowing BIOPointer) -> Block? {
    var name: UnsafeMutablePointer<CChar>?
    var header: UnsafeMutablePointer<CChar>?
    var content: UnsafeMutablePointer<UInt8>?
    var count = 0
    guard unsafe PEM_read_bio(source.raw, &name, &header, &content, &count) == 1 else { return nil }
    defer {
      unsafe CRYPTO_free(name, nil, 0)
      unsafe CRYPTO_free(header, nil, 0)
      unsafe CRYPTO_clear_free(content, count, nil, 0)
    }
    return unsafe Block(
      label: name.map { unsafe String(cString: $0) } ?? "",
      content: Array(UnsafeBufferPointer(start: content, count: count)))
  }

  /// "No further block" is how OpenSSL says that the text has ended.
  private static func isEnd(_ code: UInt) -> Bool {
    code == 0 || ERR_GET_REASON(code) == PEM_R_NO_START_LINE
  }
}
