// Goal: the manifests that `make demo` shows are sound and use every kind, so that nobody's first look fails.
// Method: every file under demo/manifests, found from this file's own place in the source tree.

import Documents
import Foundation
import Manifests
import Primitives
import Snapshots
import Testing

@Suite struct DemoManifestTests {
  private static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("demo/manifests")

  private func objects() throws -> [ManifestObject] {
    let files =
      FileManager.default.enumerator(at: Self.folder, includingPropertiesForKeys: nil)?
      .compactMap { $0 as? URL }.filter { ManifestFile.isManifest(name: $0.lastPathComponent) } ?? []
    #expect(!files.isEmpty)
    return try files.flatMap { file in
      let contents = ManifestFile.read(Array(try Data(contentsOf: file)), file: file.lastPathComponent)
      #expect(contents.problems.map(\.description) == [])
      return contents.objects
    }
  }

  @Test func everyObjectIsSoundAndCanonical() throws {
    let form = CanonicalForm()
    for object in try objects() {
      let draft = object.draft(source: "demo", firstSeen: Timestamp(seconds: 0))
      #expect(form.canonicalBody(draft.body, message: draft.bodyMessage) == draft.body, "\(object.identity)")
      _ = try Admission.admit(
        type: object.identity.type, draft: draft, limits: Limits(), canonicalize: form.bodyCanonicalizer)
    }
  }

  @Test func everyDescribedKindIsShown() throws {
    let shown = Set(try objects().map(\.identity.type))
    for kind in Kinds.all where kind.hasDescriptor && !kind.isBare {
      #expect(shown.contains(kind.type), "\(kind.type)")
    }
  }

  @Test func noObjectIsThereTwice() throws {
    let identities = try objects().map(\.identity)
    #expect(Set(identities).count == identities.count)
    #expect(Set(identities.map(\.namespace)) == ["bookinfo", "istio-system", "payments", "shared-gateways"])
  }
}
