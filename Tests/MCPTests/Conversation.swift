// Golden conversations: a text file holds what happens to one stream and what the source does about it.
//
//   method resourceSource                        the first line; any case of MCPMethod
//   limit acknowledgement 5s                     (collections, names, resend, burst likewise)
//   open                                         the stream is there: what does a source that dialled say?
//   view 3: VirtualService a=1 b=2; hidden VirtualService c=1; pending Gateway; incomplete
//   ask VirtualService nonce=1 nack="too new" incremental holds=a=1 node=x
//   raw 0aff                                     a request as bytes
//   wait 10s
//
// Lines that begin with two blanks are the source's doing. A kind stands for its collection; whatever holds
// a slash or a dollar sign is a collection itself. Names are in the namespace prod.

import Primitives
import Snapshots

@testable import MCP

struct Conversation {
  private var method = MCPMethod.resourceSource
  private var limits = Limits()
  private var source: MCPSource?
  private var now = at(0)
  private(set) var transcript: [String] = []

  /// Repeats the inputs of `text` and writes down what the source does.
  static func replay(_ text: String) throws -> String {
    var conversation = Conversation()
    for line in text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    where !line.hasPrefix("  ") {
      conversation.transcript.append(line)
      if line.isEmpty || line.hasPrefix("#") { continue }
      try conversation.perform(line)
    }
    return conversation.transcript.joined(separator: "\n")
  }

  private struct Unreadable: Error {
    let line: String
  }

  private mutating func perform(_ line: String) throws {
    let words = Conversation.words(line)
    switch words.first {
    case "method"?:
      guard let method = MCPMethod(rawValue: words[1]) else { throw Unreadable(line: line) }
      self.method = method
    case "limit"?: try setLimit(words)
    case "open"?: open()
    case "view"?:
      try stream { source, _ in source.update(try Conversation.view(line)) }
    case "ask"?:
      let bytes = request(words)
      try stream { source, now in try source.receive(bytes, now: now) }
    case "raw"?:
      let bytes = Hex.decode(words[1]) ?? []
      try stream { source, now in try source.receive(bytes, now: now) }
    case "wait"?:
      guard let seconds = Double(words[1].dropLast()) else { throw Unreadable(line: line) }
      now = now + .milliseconds(Int64(seconds * 1000))
      try stream { source, now in source.deadlinePassed(now: now) }
    default: throw Unreadable(line: line)
    }
  }

  private mutating func setLimit(_ words: [String]) throws {
    let number = Int(words[2].filter(\.isNumber)) ?? 0
    switch words[1] {
    case "collections": limits.typesPerStream = number
    case "names": limits.namesPerSubscription = number
    case "acknowledgement": limits.acknowledgement = .seconds(number)
    case "resend": limits.resend = .seconds(number)
    case "burst": limits.resendBurst = number
    default: throw Unreadable(line: words.joined(separator: " "))
    }
  }

  private mutating func open() {
    let source = MCPSource(method: method, limits: limits)
    self.source = source
    transcript.append("  says " + (source.greeting.map { Hex.encode($0) } ?? "nothing"))
  }

  /// One step of the stream, then everything that follows from it.
  private mutating func stream(_ step: (inout MCPSource, Instant) throws -> Void) throws {
    var source = self.source ?? MCPSource(method: method, limits: limits)
    do {
      try step(&source, now)
      while let event = source.nextEvent() { transcript.append("  event \(event)") }
      while let response = try source.nextResponse(now: now) {
        transcript.append(try describe(response))
      }
      if let deadline = source.nextDeadline() {
        transcript.append("  waits \((deadline - now).inSeconds)s")
      }
    } catch let error as MCPError {
      transcript.append("  ends with \(error.code): \(error.what)")
    }
    self.source = source
  }

  private func describe(_ response: StreamResponse) throws -> String {
    let read = try ReadMessage(response.bytes, method, collection: response.typeURL)
    let form = read.head.isIncremental ? "change" : "set"
    var parts = ["  \(response.nonce) \(response.typeURL) \(form) version=\(response.version.prefix(6))"]
    parts += read.contents.map { "\($0.name)=\($0.body)" }
    if !read.head.removed.isEmpty { parts.append("removed " + read.head.removed.joined(separator: " ")) }
    if let cause = response.removals { parts.append("(\(response.removed) because \(cause))") }
    if read.head.nonce != response.nonce || read.head.version != response.version {
      parts.append("HEAD DISAGREES")
    }
    if method != .incrementalAggregated, read.head.collection != response.typeURL {
      parts.append("COLLECTION DISAGREES")
    }
    if read.contents.count != response.resources { parts.append("COUNT DISAGREES") }
    return parts.joined(separator: " ")
  }

  private func request(_ words: [String]) -> [UInt8] {
    var fields: [String: String] = [:]
    for word in words.dropFirst(2) {
      let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      fields[String(parts[0])] = parts.count > 1 ? String(parts[1]) : ""
    }
    var request = SinkRequest()
    request.collection = Conversation.collection(words[1])
    request.nonce = fields["nonce"] ?? ""
    request.fault = fields["nack"].map { RequestFault(code: 3, message: $0) }
    request.isIncremental = fields["incremental"] != nil
    for held in (fields["holds"] ?? "").split(separator: ",") {
      let parts = held.split(separator: "=", maxSplits: 1).map(String.init)
      let resource = resource(parts[0], of: words[1], parts[1])
      request.initialVersions[resource.wireName] = resource.version.description
    }
    return request.encoded(method: method, node: SinkNode(id: fields["node"] ?? ""))
  }

  private static func collection(_ word: String) -> String {
    if word == "-" { return "" }
    if word.contains("/") || word.hasPrefix("$") { return word }
    return kind(word).collection ?? word
  }

  /// `view 3: VirtualService a=1; hidden Gateway g=2; released VirtualService b; pending Gateway; incomplete`
  private static func view(_ line: String) throws -> View {
    guard let colon = line.firstIndex(of: ":"), let number = UInt64(line[..<colon].dropFirst(5)) else {
      throw Unreadable(line: line)
    }
    var visible: [Resource] = []
    var hidden: [Resource] = []
    var empty: Set<TypeName> = []
    var pending: Set<TypeName> = []
    var causes = RemovalCauses()
    var isComplete = true
    for clause in line[line.index(after: colon)...].split(separator: ";") {
      var words = Conversation.words(String(clause))
      let isHidden = words.first == "hidden"
      if isHidden { words.removeFirst() }
      switch words.first {
      case nil: continue
      case "incomplete"?: isComplete = false
      case "pending"?: pending.insert(kind(words[1]).type)
      case "released"?:
        causes.record(.released, type: kind(words[1]).type, names: words.dropFirst(2).map { "prod/" + $0 })
      case let name?:
        empty.insert(kind(name).type)
        let resources = words.dropFirst().map { word in
          let parts = word.split(separator: "=").map(String.init)
          return resource(parts[0], of: name, parts[1])
        }
        if isHidden { hidden += resources } else { visible += resources }
      }
    }
    let all = collections(visible + hidden).merging(empty.map { ($0, Collection.empty) }) { first, _ in first
    }
    return View(
      number: number, collections: collections(visible),
      snapshot: Snapshot(
        collections: all, pending: pending, isComplete: isComplete, position: position(sequence: number),
        removalCauses: causes))
  }

  /// Words at blanks; a part in quotes keeps its blanks.
  static func words(_ line: String) -> [String] {
    var words: [String] = []
    var word = ""
    var isQuoted = false
    for character in line {
      switch character {
      case "\"": isQuoted.toggle()
      case " " where !isQuoted:
        if !word.isEmpty { words.append(word) }
        word = ""
      default: word.append(character)
      }
    }
    if !word.isEmpty { words.append(word) }
    return words
  }
}
