// Why a process cannot start, although its configuration can be used: what the host refuses.

import Primitives
import Ring
import Trail

enum RelayError: Explained {
  case ring(RingError)
  /// Another process writes the log that this one is to write.
  case audit(TrailError)
  /// A host name where only an IP address can be listened on.
  case notAnAddress(String)
  /// systemd passed no socket of this name.
  case notInherited(name: String, found: [String])

  var what: String {
    switch self {
    case .ring(let error): error.what
    case .audit(let error): error.what
    case .notAnAddress(let text): "Cannot listen on '\(text)': it is no IP address"
    case .notInherited(let name, let found):
      "systemd passed no socket named '\(name)'"
        + (found.isEmpty ? "" : " (it passed: \(found.joined(separator: ", ")))")
    }
  }

  var why: String {
    switch self {
    case .ring(let error): error.why
    case .audit(let error): error.why
    case .notAnAddress: ""
    case .notInherited: "`listen` names a socket that no .socket unit of this service opens"
    }
  }

  var howToFix: String {
    switch self {
    case .ring(let error): error.howToFix
    case .audit(let error): error.howToFix
    case .notAnAddress: "Give 0.0.0.0:PORT, [::]:PORT or an address of this host"
    case .notInherited(let name, _): "Set FileDescriptorName=\(name) in the .socket unit, or give an address"
    }
  }

  var blame: Blame {
    switch self {
    case .ring(let error): error.blame
    case .audit(let error): error.blame
    case .notAnAddress, .notInherited: .operator
    }
  }
}
