// What a document must hold to be able to define one object: its kind and its names, as words of their own. For
// somebody who asks for one object among very many: parsing is what takes long, and finding a word is not.
//
// Never says that a document has nothing of the object when a parser could find it there. A value of YAML is written
// with all its letters, one after the other, unless double quotes spell some of them by an escape (`\x61`), or hide
// the end of a line in the middle of it: documents with such an escape are kept. An alias stands for what is written in
// the same document. Source: YAML 1.2, sections 5.7 (escapes), 6.5 (folding), 7.3.1.

import CLinux
import Manifests
import Snapshots

struct Mention: Sendable {
  /// All must occur. The first is the rarest.
  private let words: [[UInt8]]

  /// Nil for what no document can define: a name that is empty.
  init?(of object: ObjectIdentity, isBare: Bool, defaultNamespace: String) {
    var texts = [object.type.kind]
    if !isBare {
      texts = [object.name] + texts
      // Who is in the default namespace need not say so.
      if !object.namespace.isEmpty, object.namespace != defaultNamespace { texts.append(object.namespace) }
    }
    guard !texts.contains("") else { return nil }
    words = texts.map { Array($0.utf8) }
  }

  /// Whether a file may define the object.
  func mayBe(in text: UnsafeRawBufferPointer) -> Bool {
    unsafe hasTrickyEscape(text) || words.allSatisfy { unsafe first($0, in: text, from: 0) != nil }
  }

  /// The text cut down to documents that may define the object. What is left out leaves its lines behind, so that
  /// places stay right. Empty when there is no such document.
  func reduce(_ bytes: [UInt8]) -> [UInt8] {
    unsafe bytes.withUnsafeBytes { text in
      guard unsafe mayBe(in: text) else { return [] }
      guard unsafe Mention.canBeCut(text) else { return bytes }
      return unsafe cut(text)
    }
  }

  private func cut(_ text: UnsafeRawBufferPointer) -> [UInt8] {
    var result: [UInt8] = []
    var (kept, start) = (0, 0)
    var word: Int? = -1
    var escape: Int? = -1
    while true {
      // Each is looked for anew only when it lies behind: a far one is not searched for once a document.
      if let place = word, place < start { word = unsafe first(words[0], in: text, from: start) }
      if let place = escape, place < start { escape = unsafe trickyEscape(text, from: start) }
      guard let hit = [word, escape].compactMap(\.self).min() else { return result }
      var end = unsafe Mention.nextDocument(in: text, after: start)
      while end <= hit {
        start = end
        end = unsafe Mention.nextDocument(in: text, after: start)
      }
      let document = unsafe UnsafeRawBufferPointer(rebasing: text[start..<end])
      if unsafe mayBe(in: document) {
        result += repeatElement(Mention.newline, count: unsafe Mention.lines(of: text, kept..<start))
        unsafe result += document
        kept = end
      }
      guard end < text.count else { return result }
      start = end
    }
  }

  // MARK: words

  /// Where the word stands, neither preceded nor followed by what could belong to it.
  private func first(_ word: [UInt8], in text: UnsafeRawBufferPointer, from start: Int) -> Int? {
    var from = start
    while let found = unsafe Mention.find(word, in: text, from..<text.count) {
      let end = found + word.count
      let isWhole =
        unsafe (found == 0 || !Mention.isNameByte(text[found - 1]))
        && (end == text.count || !Mention.isNameByte(text[end]))
      if isWhole { return found }
      from = found + 1
    }
    return nil
  }

  private static func isNameByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."):
      true
    default: false
    }
  }

  // MARK: escapes

  private func hasTrickyEscape(_ text: UnsafeRawBufferPointer) -> Bool {
    unsafe trickyEscape(text, from: 0) != nil
  }

  /// The next backslash that may spell a letter of a name, or hide the end of a line between two of them.
  private func trickyEscape(_ text: UnsafeRawBufferPointer, from start: Int) -> Int? {
    var from = start
    while let found = unsafe Mention.find(Mention.backslash, in: text, from..<text.count) {
      if unsafe Mention.isTricky(text, at: found) { return found }
      from = found + 1
    }
    return nil
  }

  private static func isTricky(_ text: UnsafeRawBufferPointer, at place: Int) -> Bool {
    guard place + 1 < text.count else { return false }
    switch unsafe text[place + 1] {
    case UInt8(ascii: "x"): return unsafe spellsNameByte(text, place + 2, digits: 2)
    case UInt8(ascii: "u"): return unsafe spellsNameByte(text, place + 2, digits: 4)
    case UInt8(ascii: "U"): return unsafe spellsNameByte(text, place + 2, digits: 8)
    case UInt8(ascii: "\n"), UInt8(ascii: "\r"): return unsafe hidesLineEnd(text, at: place)
    // Those of Unicode (U+0085, U+2028, U+2029) by their first byte.
    case 0xC2, 0xE2: return true
    default: return false
    }
  }

  /// Whether what stands before the end of the line and what stands in the next may be parts of one word. Long texts are
  /// often broken between words, with `\ ` for the space.
  private static func hidesLineEnd(_ text: UnsafeRawBufferPointer, at place: Int) -> Bool {
    let mayEndPart = unsafe place == 0 || isNameByte(text[place - 1]) || text[place - 1] == backslash[0]
    guard mayEndPart else { return false }
    var next = place + 1
    while next < text.count, unsafe " \t\r\n".utf8.contains(text[next]) { next += 1 }
    guard next < text.count else { return false }
    if unsafe text[next] == backslash[0] {
      return unsafe next + 1 >= text.count || text[next + 1] != UInt8(ascii: " ")
    }
    return unsafe isNameByte(text[next])
  }

  /// Whether hexadecimal digits are those of a character that a name can have; what are no digits may be anything.
  private static func spellsNameByte(_ text: UnsafeRawBufferPointer, _ start: Int, digits: Int) -> Bool {
    guard start + digits <= text.count else { return false }
    let code = unsafe String(decoding: text[start..<start + digits], as: UTF8.self)
    guard let value = UInt32(code, radix: 16) else { return false }
    return UInt8(exactly: value).map(isNameByte) ?? false
  }

  // MARK: documents

  private static let newline = UInt8(ascii: "\n")
  private static let marker = Array("\n---".utf8)
  private static let backslash = [UInt8(ascii: "\\")]

  /// False where documents cannot be told apart by their markers alone: directives (`%TAG`) belong to the document
  /// that follows them, and lines that end by CR alone are not counted here.
  private static func canBeCut(_ text: UnsafeRawBufferPointer) -> Bool {
    if unsafe text.first == UInt8(ascii: "%") { return false }
    for directive in ["\n%", "\r%"] where unsafe find(Array(directive.utf8), in: text, 0..<text.count) != nil
    {
      return false
    }
    var from = 0
    while let found = unsafe find([UInt8(ascii: "\r")], in: text, from..<text.count) {
      guard found + 1 < text.count, unsafe text[found + 1] == newline else { return false }
      from = found + 1
    }
    return true
  }

  /// Where the next line of `---` begins; the end of the text when there is none.
  private static func nextDocument(in text: UnsafeRawBufferPointer, after start: Int) -> Int {
    var from = start
    while let found = unsafe find(marker, in: text, from..<text.count) {
      let after = found + marker.count
      // A longer word that begins so is text.
      if unsafe after >= text.count
        || [newline, UInt8(ascii: "\r"), UInt8(ascii: " "), UInt8(ascii: "\t")].contains(text[after])
      {
        return found + 1
      }
      from = found + 1
    }
    return text.count
  }

  private static func lines(of text: UnsafeRawBufferPointer, _ range: Range<Int>) -> Int {
    var (count, from) = (0, range.lowerBound)
    while let found = unsafe find([newline], in: text, from..<range.upperBound) {
      count += 1
      from = found + 1
    }
    return count
  }

  /// Offset of the first occurrence within the range.
  private static func find(_ word: [UInt8], in text: UnsafeRawBufferPointer, _ range: Range<Int>) -> Int? {
    let part = unsafe UnsafeRawBufferPointer(rebasing: text[range])
    let offset = unsafe word.withUnsafeBytes { word in
      unsafe linux_find(part.baseAddress, part.count, word.baseAddress, word.count)
    }
    return offset < 0 ? nil : range.lowerBound + offset
  }
}
