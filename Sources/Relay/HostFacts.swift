// What this host says of itself. The only place that reads the environment.

import Admin
import CLinux
import Configuration
import Glibc
import Tier

extension HostFacts {
  static var here: HostFacts {
    var buffer = [CChar](repeating: 0, count: 256)
    let named = unsafe gethostname(&buffer, buffer.count - 1) == 0
    let name = String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return HostFacts(
      name: named && !name.isEmpty ? name : "localhost",
      credentialsFolder: variable("CREDENTIALS_DIRECTORY"), workloadAPI: variable("SPIFFE_ENDPOINT_SOCKET"))
  }

  /// Where systemd keeps our state, or would: the first folder it names.
  static var stateFolder: String {
    variable("STATE_DIRECTORY")?.split(separator: ":").first.map(String.init) ?? "/var/lib/meshrelay"
  }

  /// Nil when it is not set, or empty.
  private static func variable(_ name: String) -> String? {
    unsafe getenv(name).map { unsafe String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
  }
}

/// What other commands take from the environment.
public enum HostEnvironment {
  public static var workloadAPI: String? { HostFacts.here.workloadAPI }
}

extension RelayConfiguration {
  /// `loops`, or one per processor this process may run on.
  var serveLoops: Int { loops > 0 ? loops : max(1, Int(linux_allowed_processors())) }
}

extension AdminAddress {
  init(_ settings: AdminSettings) {
    switch settings {
    case .unix(let path): self = .unix(path: path)
    case .loopback(let address): self = .loopback(host: address.host, port: address.port)
    }
  }
}
