// Goal: a relay below servers that tell no position numbers what it hears itself, and passes on what relays tell.
// Method: updates handed to the publisher's desk, the position of what it publishes.

import Gates
import Policy
import Primitives
import Snapshots
import Synchronization
import Testing

@testable import Tier

struct PublishingTests {
  private let type = TypeName(group: "networking.istio.io", kind: "VirtualService")
  private let me = PathElement(instance: "me", node: "edge")
  private let noon = Timestamp(seconds: 1_790_000_000)

  private func desk() -> PublishingDesk {
    PublishingDesk(
      sources: [MergeSource(name: "up", listsEverything: false)], rules: .denyAll, brake: .off,
      history: nil, truth: .relayed(orElse: "edge"), me: me, persistence: nil, publish: { _ in })
  }

  private func update(_ name: String, at position: Position? = nil) throws -> SourceUpdate {
    let draft = ResourceDraft(
      namespace: "prod", name: name, createTime: noon,
      bodyMessage: "istio.networking.v1alpha3.VirtualService",
      body: [], source: "up")
    let resource = try Admission.admit(type: type, draft: draft, limits: Limits())
    return SourceUpdate(
      source: "up", kind: .change(type, upserts: [resource], removals: []), position: position,
      content: position)
  }

  @Test func whatComesWithoutAPositionIsNumberedHere() throws {
    let desk = desk()
    let first = desk.perform(.updates([try update("a")]), now: noon).published?.position
    #expect(first?.origin == "edge")
    #expect(first?.sequence == UInt64(noon.milliseconds))
    #expect(first?.path == [me])
    let second = desk.perform(.updates([try update("b")]), now: noon).published?.position
    #expect(second?.sequence == UInt64(noon.milliseconds) + 1, "two changes in one millisecond are two")
  }

  @Test func whatComesWithAPositionKeepsIt() throws {
    let desk = desk()
    let told = Position(
      origin: "mesh", sequence: 7, published: noon, path: [PathElement(instance: "x", node: "central")])
    let published = desk.perform(.updates([try update("a", at: told)]), now: noon).published?.position
    #expect(published == told.passed(by: me))
  }
}
