// Goal: only this host can be named as an admin address. Method: tables of what is read and what is refused.

import Admin
import Testing

struct AdminAddressTests {
  @Test(arguments: [
    ("unix:///run/meshrelay/admin.sock", "unix:///run/meshrelay/admin.sock"),
    ("unix:/run/a", "unix:///run/a"), ("/run/a", "unix:///run/a"),
    ("127.0.0.1:15014", "127.0.0.1:15014"), ("127.9.9.9:1", "127.9.9.9:1"),
    ("[::1]:15014", "[::1]:15014"), ("localhost:80", "localhost:80"),
  ])
  func reads(text: String, canonical: String) throws {
    #expect(try AdminAddress(parsing: text).description == canonical)
  }

  @Test(arguments: [
    ("unix://run/a", AdminAddressError.notAbsolute("unix://run/a")), ("unix:", .notAbsolute("unix:")),
    ("", .notAnAddress("")), ("127.0.0.1", .notAnAddress("127.0.0.1")),
    ("127.0.0.1:99999", .notAnAddress("127.0.0.1:99999")), ("127.0.0.1:", .notAnAddress("127.0.0.1:")),
    ("0.0.0.0:15014", .notLoopback("0.0.0.0:15014")), ("[::]:1", .notLoopback("[::]:1")),
    (":15014", .notLoopback(":15014")), ("10.0.0.1:1", .notLoopback("10.0.0.1:1")),
    ("127.0.0.1.example.org:1", .notLoopback("127.0.0.1.example.org:1")),
    ("127.0.0.256:1", .notLoopback("127.0.0.256:1")),
  ])
  func refuses(text: String, error: AdminAddressError) {
    #expect(throws: error) { try AdminAddress(parsing: text) }
  }

  @Test func pathsEndWhereTheKernelsDo() throws {
    let longest = "/" + String(repeating: "a", count: AdminAddress.pathBytesMax - 1)
    #expect(try AdminAddress(parsing: longest) == .unix(path: longest))
    #expect(throws: AdminAddressError.pathTooLong(longest + "a")) { try AdminAddress(parsing: longest + "a") }
  }
}
