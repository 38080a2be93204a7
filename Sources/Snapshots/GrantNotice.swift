// How a relay tells the relay below what it grants it: as one object of a type of our own, which is asked for like
// any other type and which nobody but a relay of ours asks for (docs/decisions/021-a-relay-knows-its-grant.md).
//
// The object's body is a google.protobuf.StringValue; what the text in it says is policy's affair. It is in no
// snapshot and in no collection of a view: it is what a view says of itself.

public import Primitives

public enum GrantNotice {
  public static let typeURL = TypeURL(type: TypeName(group: "meshrelay", kind: "Grant"), version: "v1")
  private static let name = "grant"
  private static let bodyMessage = "google.protobuf.StringValue"

  /// The collection with this notice. Empty when the text has no room in a resource: then nothing is told.
  public static func collection(_ text: String, limits: Limits = Limits()) -> Collection {
    var body = ProtobufWriter()
    body.string(1, text)
    let draft = ResourceDraft(
      namespace: "", name: name, createTime: Timestamp(seconds: 0), bodyMessage: bodyMessage,
      body: body.bytes, source: "")
    guard let resource = try? Admission.admit(type: typeURL.type, draft: draft, limits: limits) else {
      return .empty
    }
    return Collection([resource])
  }

  /// The text of a notice; nil when the object is none.
  public static func text(of resource: Resource) -> String? {
    guard resource.bodyMessage == bodyMessage else { return nil }
    var reader = ProtobufReader(resource.body)
    var text: String?
    do {
      while let field = try reader.next() {
        guard field.number == 1 else { continue }
        try reader.once(field)
        text = try reader.string(field)
      }
    } catch {
      return nil
    }
    return text
  }
}
