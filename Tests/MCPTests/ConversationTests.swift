// Goal: the source's behaviour, request by request, is what the files in Conversations say. Method: each
// file's inputs are replayed and the transcript compared; REWRITE_CONVERSATIONS=1 writes it back, to be
// reviewed as a diff.

import Foundation
import Testing

@testable import MCP

struct ConversationTests {
  static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .appendingPathComponent("Conversations")

  static var files: [String] {
    let names = try? FileManager.default.contentsOfDirectory(atPath: folder.path)
    return (names ?? []).filter { $0.hasSuffix(".txt") }.sorted()
  }

  @Test func filesAreFound() {
    #expect(ConversationTests.files.count >= 10)
  }

  @Test(arguments: ConversationTests.files)
  func replays(_ file: String) throws {
    let url = ConversationTests.folder.appendingPathComponent(file)
    let expected = try String(contentsOf: url, encoding: .utf8)
    let actual = try Conversation.replay(expected)
    if ProcessInfo.processInfo.environment["REWRITE_CONVERSATIONS"] == "1" {
      try actual.write(to: url, atomically: true, encoding: .utf8)
    }
    #expect(actual == expected, "\(file): replay with REWRITE_CONVERSATIONS=1 and read the diff")
  }
}
