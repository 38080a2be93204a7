// Goal: the behaviour of source and sink, message by message, is what the files in Conversations say. Method: each
// file's inputs are replayed and the transcript compared; REWRITE_CONVERSATIONS=1 writes it back, to be
// reviewed as a diff.

import Foundation
import Testing

@testable import MCP

struct ConversationTests {
  static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .appendingPathComponent("Conversations")

  static let sinkFolder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .appendingPathComponent("SinkConversations")

  static var files: [String] { names(in: folder) }
  static var sinkFiles: [String] { names(in: sinkFolder) }

  private static func names(in folder: URL) -> [String] {
    let names = try? FileManager.default.contentsOfDirectory(atPath: folder.path)
    return (names ?? []).filter { $0.hasSuffix(".txt") }.sorted()
  }

  @Test func filesAreFound() {
    #expect(ConversationTests.files.count >= 10 && ConversationTests.sinkFiles.count >= 4)
  }

  @Test(arguments: ConversationTests.files)
  func replays(_ file: String) throws {
    try compare(ConversationTests.folder.appendingPathComponent(file), Conversation.replay)
  }

  @Test(arguments: ConversationTests.sinkFiles)
  func replaysTheOtherRole(_ file: String) throws {
    try compare(ConversationTests.sinkFolder.appendingPathComponent(file), SinkConversation.replay)
  }

  private func compare(_ url: URL, _ replay: (String) throws -> String) throws {
    let file = url.lastPathComponent
    let expected = try String(contentsOf: url, encoding: .utf8)
    let actual = try replay(expected)
    if ProcessInfo.processInfo.environment["REWRITE_CONVERSATIONS"] == "1" {
      try actual.write(to: url, atomically: true, encoding: .utf8)
    }
    #expect(actual == expected, "\(file): replay with REWRITE_CONVERSATIONS=1 and read the diff")
  }
}
