// What is most likely misspelt in a question about an object that is not there.

import Documents
public import Snapshots

public enum ObjectSlip {
  /// A clause that goes behind "… is not there"; empty when nothing about the question is odd.
  public static func clause(type: TypeName, namespace: String, name: String) -> String {
    guard let kind = Kinds[type] else {
      let near = Suggestion.nearest(
        to: type.description, among: (Kinds.all + Kinds.classic).map(\.type.description))
      return ", and no such kind is known here" + (near.map { ": did you mean \($0)?" } ?? "")
    }
    if kind.isBare { return name == Kind.bareName ? "" : ": the only one is called \(Kind.bareName)" }
    if kind.isClusterScoped {
      return namespace.isEmpty ? "" : ": objects of this kind have no namespace"
    }
    return namespace.isEmpty ? ": objects of this kind are called NAMESPACE/NAME" : ""
  }
}
