// Why the admin interface could not be opened.

public import Admin
public import Primitives

public enum AdminServerError: Explained, Equatable {
  /// Another process answers on the socket.
  case inUse(path: String)
  /// Something that is no socket has the name.
  case notASocket(path: String)
  case cannotMakeFolder(path: String, reason: String)
  case cannotListen(AdminAddress, reason: String)

  public var what: String {
    switch self {
    case .inUse(let path): "Somebody answers on the admin socket \(path)"
    case .notASocket(let path): "\(path) exists and is no socket"
    case .cannotMakeFolder(let path, let reason): "Cannot make the folder \(path) (\(reason))"
    case .cannotListen(let address, let reason): "Cannot listen for admin requests on \(address) (\(reason))"
    }
  }

  public var why: String {
    switch self {
    case .inUse: "Another relay runs with the same configuration"
    case .notASocket, .cannotMakeFolder, .cannotListen: ""
    }
  }

  public var howToFix: String {
    switch self {
    case .inUse: "Stop it, or give this one its own 'admin' address"
    case .notASocket: "Move it away, or choose another 'admin' address"
    case .cannotMakeFolder: "Create it for the user that runs meshrelay, with mode 0750"
    case .cannotListen: "Choose another 'admin' address, or free this one"
    }
  }

  public var blame: Blame { .operator }
}
