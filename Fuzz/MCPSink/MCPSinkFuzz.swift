// Goal: nothing a classic server says stops the process, loses an object it did not take back, or leaves a
// response without its answer. Method: the input is a run of length-prefixed messages of one server; an empty one
// ends the stream with the text of the next. What the sink hands up is applied to a mirror as the publisher would.

import MCP
import Primitives
import Snapshots

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  guard let start = unsafe start, count > 1 else { return 0 }
  let input = unsafe Array(UnsafeBufferPointer(start: start, count: count))
  follow(split(input.dropFirst()), makeSink(input[0]))
  return 0
}

/// One length byte before each message; the last one takes what is left.
private func split(_ bytes: ArraySlice<UInt8>) -> [[UInt8]] {
  var messages: [[UInt8]] = []
  var rest = bytes
  while let length = rest.popFirst() {
    messages.append(Array(rest.prefix(Int(length))))
    rest = rest.dropFirst(Int(length))
  }
  return messages
}

private func makeSink(_ choices: UInt8) -> MCPSink {
  let kinds = (Kinds.all + Kinds.classic).filter {
    ["VirtualService", "Gateway", "MeshConfig", "MeshPolicy", "Policy"].contains($0.type.kind)
      && $0.collection != nil
  }
  var settings = MCPSink.Settings(
    method: choices & 1 == 0 ? .resourceSource : .aggregated, isIncremental: choices & 2 == 0, kinds: kinds,
    node: SinkNode(id: "fuzz"), source: "fuzz", upstream: "peer", limits: Limits())
  settings.intake = Intake(rewrite: choices & 4 == 0 ? ShortHosts(domain: "cluster.local").rewriter : nil)
  return MCPSink(settings)
}

private func follow(_ messages: [[UInt8]], _ unused: MCPSink) {
  var sink = unused
  var mirror: [TypeName: Set<String>] = [:]
  var isEnding = false
  _ = sink.begin(held: [:], upstream: "peer")
  for (second, message) in messages.enumerated() {
    let now = Instant(nanoseconds: Int64(second) * 1_000_000_000)
    if message.isEmpty {
      isEnding = true
      continue
    }
    if isEnding {
      isEnding = false
      let text = String(decoding: message, as: UTF8.self)
      let (ending, updates) = sink.streamEnded(code: 3, message: text, now: now)
      apply(updates, to: &mirror)
      _ = ending == .failed ? sink.resume(upstream: text, now: now) : sink.reopen()
      continue
    }
    do throws(MCPError) {
      apply(try sink.receive(message, now: now, wallClock: Timestamp(seconds: 1_800_000_000)), to: &mirror)
    } catch {
      return
    }
    var answers = 0
    while sink.nextRequest() != nil { answers += 1 }
    precondition(answers == 1, "a response is answered once")
    while let event = sink.nextEvent() {
      if case .answered(let name) = event {
        precondition(sink.type(of: name) != nil, "an answer for something that was not asked for")
      }
    }
    apply(sink.deadlinePassed(now: now), to: &mirror)
  }
}

private func apply(_ updates: [SourceUpdate], to mirror: inout [TypeName: Set<String>]) {
  for update in updates {
    guard case .change(let type, let upserts, let removals) = update.kind else { continue }
    for name in removals {
      precondition(mirror[type]?.contains(name) == true, "what goes was there")
    }
    mirror[type, default: []].subtract(removals)
    for resource in upserts {
      precondition(!resource.wireName.isEmpty && resource.type == type, "a name and its own kind")
      precondition(!removals.contains(resource.wireName), "set and removed at once")
    }
    mirror[type, default: []].formUnion(upserts.map(\.wireName))
  }
}
