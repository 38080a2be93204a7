// Goal: what of a Kubernetes object travels, what is dropped knowingly, and what is refused, object by object.
// Method: short files; every kind of the table once with a spec that uses it; tables of metadata mistakes.

import Documents
import Manifests
import Primitives
import Snapshots
import Testing

private func read(_ text: String) -> ManifestContents { ManifestFile.read(Array(text.utf8), file: "f.yaml") }

private func object(metadata: String, kind: String = "ServiceEntry") -> String {
  "apiVersion: networking.istio.io/v1\nkind: \(kind)\nmetadata: \(metadata)\n"
}

@Suite struct ManifestFileTests {
  // MARK: Kinds

  @Test(arguments: Kinds.all.filter(\.hasDescriptor))
  func everyVersionOfEveryKindIsRead(_ kind: Kind) throws {
    for version in kind.versions {
      let text =
        "apiVersion: \(kind.type.group)/\(version)\nkind: \(kind.type.kind)\nmetadata: {name: x}\nspec: {}\n"
      let contents = read(text)
      #expect(contents.problems == [])
      let object = try #require(contents.objects.first)
      #expect(object.identity == ObjectIdentity(type: kind.type, namespace: "default", name: "x"))
      let draft = object.draft(source: "s", firstSeen: Timestamp(seconds: 7))
      #expect(draft.bodyMessage == kind.bodyMessage)
      let resource = try Admission.admit(
        type: kind.type, draft: draft, limits: Limits(), canonicalize: CanonicalForm().bodyCanonicalizer)
      #expect(resource.wireName == "default/x")
    }
  }

  @Test func meshConfigNeedsNoNames() throws {
    let contents = read("apiVersion: core/v1alpha1\nkind: MeshConfig\nspec: {rootNamespace: istio-system}\n")
    #expect(contents.problems == [])
    #expect(contents.objects.first?.identity.name == Kind.bareName)
  }

  static let refusedKinds: [(text: String, says: String)] = [
    ("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n", "no kind of mesh configuration"),
    ("apiVersion: v1\nkind: Service\nmetadata: {name: x}\n", "core/Service"),
    (
      "apiVersion: networking.istio.io/v1\nkind: VirtualServices\nmetadata: {name: x}\n",
      "write kind: VirtualService"
    ),
    (
      "apiVersion: security.istio.io/v1\nkind: VirtualService\nmetadata: {name: x}\n",
      "networking.istio.io/v1"
    ),
    (
      "apiVersion: networking.istio.io/v2\nkind: VirtualService\nmetadata: {name: x}\n",
      "has no version \"v2\""
    ),
    ("apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: x}\n", "cannot be made"),
    ("apiVersion: rbac.istio.io/v1alpha1\nkind: ServiceRole\nmetadata: {name: x}\n", "cannot be made"),
    ("kind: VirtualService\nmetadata: {name: x}\n", "no apiVersion"),
    ("apiVersion: networking.istio.io/v1\nmetadata: {name: x}\n", "no kind"),
    ("apiVersion: a/b/c\nkind: VirtualService\n", "group/version"),
    ("apiVersion: 1\nkind: VirtualService\n", "text"),
    ("- a\n", "an object"),
    ("just text\n", "an object"),
  ]

  @Test(arguments: refusedKinds.indices)
  func unknownKindsAreVisible(_ index: Int) throws {
    let (text, says) = Self.refusedKinds[index]
    let contents = read(text)
    #expect(contents.objects.isEmpty)
    #expect(contents.problems.count == 1)
    #expect(try #require(contents.problems.first).description.contains(says), "\(contents.problems)")
  }

  // MARK: Metadata

  @Test func labelsAndAnnotationsTravelAndTheRestIsDropped() throws {
    let contents = read(
      """
      apiVersion: networking.istio.io/v1
      kind: ServiceEntry
      metadata:
        name: x
        namespace: prod
        labels: {tier: edge, app: "1"}
        annotations:
          kubectl.kubernetes.io/last-applied-configuration: "{}"
          note: kept
        creationTimestamp: 2024-05-06T07:08:09Z
        resourceVersion: "77"
        generation: 3
        uid: 0a
        ownerReferences: []
        finalizers: [a]
        managedFields: [{manager: kubectl}]
      spec: {hosts: [a.com]}
      status: {conditions: [{anything: 1}]}
      """)
    #expect(contents.problems == [])
    let object = try #require(contents.objects.first)
    #expect(object.createTime == Timestamp(rfc3339: "2024-05-06T07:08:09Z"))
    let draft = object.draft(source: "s", firstSeen: Timestamp(seconds: 7))
    #expect(draft.createTime == object.createTime)
    #expect(draft.labels.map { "\($0.key)=\($0.value)" } == ["tier=edge", "app=1"])
    #expect(draft.annotations.map { "\($0.key)=\($0.value)" } == ["note=kept"])
  }

  @Test func firstSightStandsInForAMissingTime() throws {
    for metadata in ["{name: x}", "{name: x, creationTimestamp: null}"] {
      let object = try #require(read(object(metadata: metadata)).objects.first)
      #expect(object.draft(source: "s", firstSeen: Timestamp(seconds: 7)).createTime == Timestamp(seconds: 7))
    }
  }

  @Test func theDefaultNamespaceIsAnOption() throws {
    var options = ManifestOptions()
    options.defaultNamespace = "mesh"
    let contents = ManifestFile.read(Array(object(metadata: "{name: x}").utf8), file: "f", options: options)
    #expect(contents.objects.first?.identity.namespace == "mesh")
  }

  static let badMetadata: [(metadata: String, column: Int, says: String)] = [
    ("{}", 11, "no metadata.name"),
    ("{generateName: x-}", 26, "generateName"),
    ("{name: Upper}", 18, "RFC 1123"),
    ("{name: -x}", 18, "RFC 1123"),
    ("{name: a..b}", 18, "RFC 1123"),
    ("{name: a/b}", 18, "RFC 1123"),
    ("{name: 7}", 18, "the number 7"),
    ("{name: x, namespace: a.b}", 32, "RFC 1123 label"),
    ("{name: x, namespace: no}", 32, "the boolean no"),
    ("{name: x, labels: {version: 1}}", 39, "\"1\""),
    ("{name: x, labels: [a]}", 29, "a list"),
    ("{name: x, annotations: {a: {b: c}}}", 38, "an object"),
    ("{name: x, annotations: {a: null}}", 38, "null"),
    ("{name: x, creationTimestamp: yesterday}", 40, "RFC 3339"),
    ("{name: x, lables: {}}", 21, "labels"),
    ("[]", 11, "a list"),
  ]

  @Test(arguments: badMetadata.indices)
  func badMetadataIsNamedAtItsPlace(_ index: Int) throws {
    let (metadata, column, says) = Self.badMetadata[index]
    let contents = read(object(metadata: metadata))
    #expect(contents.objects.isEmpty)
    #expect(contents.problems.count == 1)
    let problem = try #require(contents.problems.first)
    #expect("\(problem.position)" == "f.yaml:3:\(column)", "\(problem)")
    #expect(problem.description.contains(says), "\(problem)")
  }

  @Test func unknownTopLevelKeysAreProblems() throws {
    let contents = read(object(metadata: "{name: x}") + "sepc: {hosts: [a]}\n")
    #expect(try #require(contents.problems.first).description.contains("write \"spec\""))
  }

  @Test func namesAreAtMost253Bytes() {
    #expect(read(object(metadata: "{name: \(String(repeating: "a", count: 253))}")).problems == [])
    #expect(read(object(metadata: "{name: \(String(repeating: "a", count: 254))}")).problems.count == 1)
  }

  // MARK: Files

  @Test func oneBadDocumentDoesNotHideTheOthers() {
    let good = { (name: String) in object(metadata: "{name: \(name)}") }
    let contents = read(
      [good("a"), "a: b: c\n", good("b"), object(metadata: "{name: B}"), "# nothing\n", good("c")].joined(
        separator: "---\n"))
    #expect(contents.objects.map(\.identity.name) == ["a", "b", "c"])
    #expect(contents.objects.map(\.position.line) == [1, 7, 17])
    #expect(contents.rejected.count == 2)
  }

  @Test func duplicateKeysSetTheDocumentAside() {
    let contents = read(object(metadata: "{name: a}") + "spec: {hosts: [a]}\nspec: {hosts: [b]}\n")
    #expect(contents.objects.isEmpty)
    #expect(contents.rejected.count == 1)
  }

  @Test func listsAreUnwrappedAndTheirElementsStandAlone() {
    let element = { (name: String) in
      "- {apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: \(name)}}\n"
    }
    for kind in ["List", "SidecarList"] {
      let contents = read(
        "apiVersion: v1\nkind: \(kind)\nmetadata: {resourceVersion: ''}\nitems:\n" + element("a")
          + element("B")
          + element("c"))
      #expect(contents.objects.map(\.identity.name) == ["a", "c"])
      #expect(contents.problems.map(\.position.line) == [6])
    }
  }

  @Test func jsonIsRead() throws {
    let contents = read(
      #"{"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": {"name": "x"}, "spec": {"hosts": ["a"]}}"#
    )
    #expect(contents.problems == [])
    #expect(contents.objects.count == 1)
  }

  @Test func emptyFilesHoldNothing() {
    for text in ["", "\n", "---\n", "# only a comment\n---\n---\n", "null\n"] {
      let contents = read(text)
      #expect(contents.objects.isEmpty && contents.rejected.isEmpty)
    }
  }

  @Test func anchorsAndMergeKeysWorkAsInKubernetes() throws {
    let contents = read(
      object(metadata: "{name: x, labels: &l {app: a}, annotations: {<<: *l, other: b}}")
        + "spec: {hosts: [a]}\n")
    #expect(contents.problems == [])
    let draft = try #require(contents.objects.first).draft(source: "s", firstSeen: Timestamp(seconds: 0))
    #expect(Set(draft.annotations.map(\.key)) == ["app", "other"])
  }

  @Test func rejectedObjectsSayWhoTheyAre() throws {
    let rejected = try #require(read(object(metadata: "{name: x}") + "spec: {hots: []}\n").rejected.first)
    #expect(rejected.label == "networking.istio.io/ServiceEntry default/x")
    #expect(rejected.identity?.name == "x")
    let nameless = try #require(read(object(metadata: "{labels: {}}")).rejected.first)
    #expect(nameless.identity == nil)
  }

  static let names: [(name: String, isManifest: Bool)] = [
    ("a.yaml", true), ("a.yml", true), ("a.json", true), ("a.b.yaml", true), (".a.yaml", false),
    ("a.yaml~", false),
    ("#a.yaml#", false), (".a.yaml.swp", false), ("a.yaml.bak", false), ("a.txt", false), ("yaml", false),
    ("", false),
    ("..data", false),
  ]

  @Test(arguments: names.indices)
  func onlyManifestsAreRead(_ index: Int) {
    #expect(ManifestFile.isManifest(name: Self.names[index].name) == Self.names[index].isManifest)
  }
}
