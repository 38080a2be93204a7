// A text of manifests cut down to the documents that hold a word, for somebody who asks for one object among very many:
// parsing is what takes long, and finding a word is not.
//
// Places stay right: what is left out leaves its lines behind. A name that a document spells in another way (an escape)
// is not found; who finds nothing looks at the whole.

import CLinux

enum MentioningText {
  /// Empty when the word is nowhere.
  static func reduce(_ bytes: [UInt8], to word: [UInt8]) -> [UInt8] {
    guard !word.isEmpty, holds(bytes, 0..<bytes.count, word) else { return [] }
    var result: [UInt8] = []
    var start = 0
    while start < bytes.count {
      let end = nextDocument(in: bytes, after: start)
      if holds(bytes, start..<end, word) {
        result += bytes[start..<end]
      } else {
        result += repeatElement(newline, count: lines(of: bytes, start..<end))
      }
      start = end
    }
    return result
  }

  private static let newline = UInt8(ascii: "\n")
  private static let marker = Array("\n---".utf8)

  /// Where the next line of `---` begins; the end of the text when there is none.
  private static func nextDocument(in bytes: [UInt8], after start: Int) -> Int {
    var from = start
    while let found = first(marker, in: bytes, from..<bytes.count) {
      let after = found + marker.count
      // A longer word that begins so is text.
      if after >= bytes.count
        || [newline, UInt8(ascii: "\r"), UInt8(ascii: " "), UInt8(ascii: "\t")]
          .contains(bytes[after])
      {
        return found + 1
      }
      from = found + 1
    }
    return bytes.count
  }

  private static func lines(of bytes: [UInt8], _ range: Range<Int>) -> Int {
    var (count, from) = (0, range.lowerBound)
    while let found = first([newline], in: bytes, from..<range.upperBound) {
      count += 1
      from = found + 1
    }
    return count
  }

  private static func holds(_ bytes: [UInt8], _ range: Range<Int>, _ word: [UInt8]) -> Bool {
    first(word, in: bytes, range) != nil
  }

  /// Offset of the first occurrence within the range.
  private static func first(_ word: [UInt8], in bytes: [UInt8], _ range: Range<Int>) -> Int? {
    let offset = unsafe bytes.withUnsafeBytes { text in
      unsafe word.withUnsafeBytes { word in
        let part = unsafe UnsafeRawBufferPointer(rebasing: text[range])
        return unsafe linux_find(part.baseAddress, part.count, word.baseAddress, word.count)
      }
    }
    return offset < 0 ? nil : range.lowerBound + offset
  }
}
