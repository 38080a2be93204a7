// One file of Kubernetes-style YAML or JSON to the objects in it: the front door of this room.
//
// A file may hold many documents and lists of objects. Each object stands or falls alone: what is wrong
// with one is collected with its place and the others flow. Positions stay with the objects, so that
// later rooms can name the place too. Source: Kubernetes object conventions; Istio's kinds (Snapshots.Kinds).

public import Documents
public import Primitives
public import Snapshots

/// Which object something is said about: `group/Kind namespace/name`.
public struct ObjectIdentity: Hashable, Comparable, Sendable, CustomStringConvertible {
  public let type: TypeName
  /// Empty for kinds without namespaces.
  public let namespace: String
  public let name: String

  public init(type: TypeName, namespace: String, name: String) {
    self.type = type
    self.namespace = namespace
    self.name = name
  }

  public var description: String {
    "\(type) \(Admission.wireName(namespace: namespace, name: name))"
  }

  public static func < (left: ObjectIdentity, right: ObjectIdentity) -> Bool {
    (left.type, left.namespace, left.name) < (right.type, right.namespace, right.name)
  }
}

/// The names of an object, whatever its kind.
public struct ObjectNames: Hashable, Sendable {
  public let namespace: String
  public let name: String

  public init(namespace: String, name: String) {
    self.namespace = namespace
    self.name = name
  }
}

/// An object as its manifest says, encoded but not yet admitted.
public struct ManifestObject: Sendable {
  public let identity: ObjectIdentity
  /// Where its document (or list element) begins.
  public let position: SourcePosition
  /// `metadata.creationTimestamp`; nil when the manifest has none.
  public let createTime: Timestamp?
  let labels: [(key: String, value: String)]
  let annotations: [(key: String, value: String)]
  let bodyMessage: String
  let body: [UInt8]

  /// The object for admission. `firstSeen` stands in for a creation time that the manifest does not state.
  public func draft(source: String, firstSeen: Timestamp) -> ResourceDraft {
    ResourceDraft(
      namespace: identity.namespace, name: identity.name, labels: labels, annotations: annotations,
      createTime: createTime ?? firstSeen, bodyMessage: bodyMessage, body: body, source: source)
  }
}

/// An object, or a part of a file that would have been one, that was set aside.
public struct RejectedManifest: Sendable {
  /// Nil when the text does not say which object it is.
  public let identity: ObjectIdentity?
  /// What is known without an identity: its names, when only the kind is unknown.
  public let names: ObjectNames?
  /// `group/Kind namespace/name` as far as known; empty when nothing is.
  public let label: String
  /// At least one.
  public let problems: [Problem]
}

/// What a file holds.
public struct ManifestContents: Sendable {
  /// In file order.
  public internal(set) var objects: [ManifestObject] = []
  /// In file order.
  public internal(set) var rejected: [RejectedManifest] = []

  /// All problems in file order, for `check`.
  public var problems: [Problem] { rejected.flatMap(\.problems) }
}

/// How manifests are read.
public struct ManifestOptions: Sendable {
  /// The namespace of objects that state none, as `kubectl` has it.
  public var defaultNamespace = "default"
  public var schema = Schema.istio
  public var limits = DocumentLimits()

  public init() {}
}

public enum ManifestFile {
  /// Suffixes of file names that are read; JSON is a subset of YAML.
  public static let suffixes = [".yaml", ".yml", ".json"]

  /// Whether a file of this name (without folder) is a manifest. Hidden files and what editors leave behind
  /// (`.x.yaml.swp`, `x.yaml~`, `#x.yaml#`) are not.
  public static func isManifest(name: String) -> Bool {
    guard let first = name.utf8.first, first != UInt8(ascii: "."), first != UInt8(ascii: "#") else {
      return false
    }
    return suffixes.contains { name.hasSuffix($0) }
  }

  /// Reads all objects of `text`. `file` is what positions name.
  public static func read(
    _ text: [UInt8], file: String, options: ManifestOptions = ManifestOptions()
  ) -> ManifestContents {
    let parsed = YAML.parse(yaml: text, file: file, limits: options.limits)
    var contents = ManifestContents()
    for problem in parsed.problems {
      contents.rejected.append(RejectedManifest(identity: nil, names: nil, label: "", problems: [problem]))
    }
    for document in parsed.documents {
      var problems: [Problem] = []
      let value = ManifestValue(document, problems: &problems)
      if problems.isEmpty {
        read(value, options: options, into: &contents)
      } else {
        let reader = ObjectReader(value, options: options)
        contents.rejected.append(reader.rejected(for: problems))
      }
    }
    return contents
  }

  private static func read(
    _ value: ManifestValue, options: ManifestOptions, into contents: inout ManifestContents
  ) {
    // `---` at the end of a file makes an empty document: nothing was meant by it.
    if value.isNull { return }
    if let elements = listElements(value) {
      for element in elements { read(element, options: options, into: &contents) }
      return
    }
    var reader = ObjectReader(value, options: options)
    if let object = reader.read() {
      contents.objects.append(object)
    } else {
      contents.rejected.append(reader.rejected(for: reader.problems))
    }
  }

  /// The elements of `kind: List` and of typed lists (`VirtualServiceList`), as `kubectl get -o yaml` writes them.
  private static func listElements(_ value: ManifestValue) -> [ManifestValue]? {
    guard case .string(let kind)? = value["kind"]?.content, kind.hasSuffix("List"),
      case .sequence(let elements)? = value["items"]?.content
    else { return nil }
    return elements
  }
}
