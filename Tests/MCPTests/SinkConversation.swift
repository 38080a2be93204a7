// Golden conversations of the other role: a text file holds what a server says and what the sink does about it.
//
//   method resourceSource incremental            the first line; any method that a sink may use
//   kinds VirtualService Gateway
//   begin 10.0.0.1:9901 VirtualService a=1       the first stream, with what was held
//   resume 10.0.0.2:9901                         another stream, at another server or the same
//   say VirtualService nonce=1 version=v0 incremental removed=b a=2 c=1
//   end 3 "unsupported collection …"             the server ends the stream
//   wait 15s
//
// Lines that begin with two blanks are the sink's doing. Names are in the namespace prod.

import Primitives
import Snapshots

@testable import MCP

struct SinkConversation {
  private var method = MCPMethod.resourceSource
  private var isIncremental = false
  private var kinds: [Kind] = []
  private var sink: MCPSink?
  private var now = at(0)
  private(set) var transcript: [String] = []

  private struct Unreadable: Error {
    let line: String
  }

  /// Repeats the inputs of `text` and writes down what the sink does.
  static func replay(_ text: String) throws -> String {
    var conversation = SinkConversation()
    for line in text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    where !line.hasPrefix("  ") {
      conversation.transcript.append(line)
      if line.isEmpty || line.hasPrefix("#") { continue }
      try conversation.perform(line)
    }
    return conversation.transcript.joined(separator: "\n")
  }

  private mutating func perform(_ line: String) throws {
    let words = Conversation.words(line)
    switch words.first {
    case "method"?:
      guard let method = MCPMethod(rawValue: words[1]) else { throw Unreadable(line: line) }
      self.method = method
      isIncremental = words.contains("incremental")
    case "kinds"?: kinds = words.dropFirst().map { kind($0) }
    case "begin"?: try begin(words)
    case "resume"?:
      let requests = sink?.resume(upstream: words[1], now: now) ?? []
      try note(requests: requests)
    case "say"?: try say(words)
    case "end"?:
      guard let code = Int(words[1]) else { throw Unreadable(line: line) }
      guard let (ending, updates) = sink?.streamEnded(code: code, message: words[2], now: now) else { return }
      note(updates: updates)
      switch ending {
      case .failed: transcript.append("  failed")
      case .reopen:
        transcript.append("  opens another stream")
        try note(requests: sink?.reopen() ?? [])
      }
    case "wait"?:
      guard let seconds = Double(words[1].dropLast()) else { throw Unreadable(line: line) }
      now = now + .milliseconds(Int64(seconds * 1000))
      note(updates: sink?.deadlinePassed(now: now) ?? [])
    default: throw Unreadable(line: line)
    }
  }

  private mutating func begin(_ words: [String]) throws {
    var sink = MCPSink(
      MCPSink.Settings(
        method: method, isIncremental: isIncremental, kinds: kinds, node: SinkNode(id: "edge"),
        source: "galley", upstream: words[1], limits: Limits()))
    let held = words.dropFirst(3).map { resource($0, of: words[2]) }
    let requests = sink.begin(held: collections(held), upstream: words[1])
    self.sink = sink
    try note(requests: requests)
  }

  private mutating func say(_ words: [String]) throws {
    var head = SourceHead()
    head.collection =
      words[1].contains("/") || words[1].hasPrefix("$") ? words[1] : kind(words[1]).collection ?? words[1]
    var resources: [Resource] = []
    for word in words.dropFirst(2) {
      let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        .map(String.init)
      switch parts[0] {
      case "nonce": head.nonce = parts[1]
      case "version": head.version = parts[1]
      case "incremental": head.isIncremental = true
      case "removed": head.removed = parts[1].split(separator: ",").map { "prod/" + $0 }
      default: resources.append(resource(word, of: words[1]))
      }
    }
    let body = SourceBody.whole(
      Collection(resources), of: MCPCollection(head.collection), method: method)
    let message = head.encoded(method: method) + (body?.bytes ?? [])
    do throws(MCPError) {
      let updates = try sink?.receive(message, now: now, wallClock: Timestamp(seconds: 1_000)) ?? []
      note(updates: updates)
    } catch {
      transcript.append("  ends with \(error.code): \(error.what)")
    }
    while let event = sink?.nextEvent() { transcript.append("  event \(event)") }
    var answers: [[UInt8]] = []
    while let request = sink?.nextRequest() { answers.append(request) }
    try note(requests: answers)
    if let deadline = sink?.nextDeadline() { transcript.append("  waits \((deadline - now).inSeconds)s") }
  }

  private func resource(_ word: String, of kindName: String) -> Resource {
    let parts = word.split(separator: "=", maxSplits: 1).map(String.init)
    return MCPTests.resource(parts[0], of: kindName, parts.count > 1 ? parts[1] : "")
  }

  private mutating func note(requests: [[UInt8]]) throws {
    for bytes in requests {
      let request = try SinkRequest(bytes, method: method, namesMax: 100)
      var line = "  "
      if request.nonce.isEmpty, request.fault == nil {
        line += "asks for \(request.collection)"
      } else if let fault = request.fault {
        line += "refuses \(request.collection) \(request.nonce) with \(fault.code): \(fault.message)"
      } else {
        line += "takes \(request.collection) \(request.nonce)"
      }
      if request.isIncremental { line += ", changes" }
      if !request.initialVersions.isEmpty {
        line += ", holds " + request.initialVersions.keys.sorted().joined(separator: " ")
      }
      transcript.append(line)
    }
  }

  private mutating func note(updates: [SourceUpdate]) {
    for update in updates {
      switch update.kind {
      case .complete: transcript.append("  complete")
      case .replace: transcript.append("  REPLACED")
      case .change(let type, let upserts, let removals):
        let set = upserts.map { "\($0.wireName)=\(String(decoding: $0.body, as: UTF8.self))" }
        let parts =
          ["  hands up \(type.kind)"] + set + (removals.isEmpty ? [] : ["without"] + removals)
          + (update.isWhole ? ["(whole)"] : [])
        transcript.append(parts.joined(separator: " "))
      }
    }
  }
}
