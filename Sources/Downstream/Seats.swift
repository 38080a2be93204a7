// What a loop knows of its clients without touching their memory: a row each, side by side. A push with an audit
// walks over the clients when its records are written; before that it only has to say who will be given what, and
// for that these rows are enough (docs/decisions/118).

import Audit
import Ring
import Snapshots

/// Clients and what a push needs to know of them first. Row numbers are given anew when a client has left.
struct Seats {
  private struct Row {
    let socket: SocketID?
    /// Number of what its one stream wants; below 0: that is not known.
    var interest: Int32 = -1
    /// The stream waits for newer content, and for nothing else.
    var isAtRest = false
    /// Class of its view, the one it has and the one that is next; below 0: they differ.
    var place: Int32 = -1
    /// How records name it.
    var name: PieceNumbers.Name?
    /// A response to it has its record and waits.
    var isAnnounced = false
  }

  private var rows: [Row] = []
  /// Beside the rows: to copy a row must not touch its client.
  private var clients: [Client?] = []
  private var free: [Int] = []
  var interests = Interests()

  /// One after the last row.
  var end: Int { rows.count }

  mutating func take(_ client: Client, _ socket: SocketID?) -> Int {
    if let number = free.popLast() {
      rows[number] = Row(socket: socket)
      clients[number] = client
      return number
    }
    rows.append(Row(socket: socket))
    clients.append(client)
    return rows.count - 1
  }

  mutating func leave(_ number: Int) {
    rows[number] = Row(socket: nil)
    clients[number] = nil
    free.append(number)
  }

  mutating func place(_ number: Int, served: Int, granted: Int) {
    rows[number].place = served == granted ? Int32(granted) : -1
  }

  /// What its only stream wants, and how records name its client.
  mutating func introduce(_ number: Int, interest: Int, name: PieceNumbers.Name) {
    rows[number].interest = Int32(interest)
    rows[number].name = name
  }

  /// Something has changed about its streams or its name.
  mutating func forget(_ number: Int) { rows[number].interest = -1 }

  /// False when the client has to be introduced first.
  mutating func rest(_ number: Int, _ isAtRest: Bool) -> Bool {
    rows[number].isAtRest = isAtRest
    return rows[number].interest >= 0
  }

  /// Who waits for newer content only, and of what; nil when a push has to ask the client itself.
  func candidate(_ number: Int) -> (place: Int, interest: Int, name: PieceNumbers.Name)? {
    let row = rows[number]
    guard row.isAtRest, row.interest >= 0, row.place >= 0, !row.isAnnounced, let name = row.name else {
      return nil
    }
    return (Int(row.place), Int(row.interest), name)
  }

  func isAnnounced(_ number: Int) -> Bool { rows[number].isAnnounced }
  func socket(_ number: Int) -> SocketID? { rows[number].socket }

  mutating func announce(_ number: Int) { rows[number].isAnnounced = true }

  /// The client whose response waited; nil when it has left, or when something was more urgent.
  mutating func takeAnnounced(_ number: Int) -> Client? {
    guard rows[number].isAnnounced else { return nil }
    rows[number].isAnnounced = false
    return clients[number]
  }
}

/// Lists of types that streams want all of. Equal lists have one number, as long as a stream has it.
struct Interests {
  private struct Entry {
    let typeURLs: [String]
    let urlsByType: [TypeName: [String]]
    var users: Int
  }

  private var entries: [Entry?] = []
  private var numbers: [[String]: Int] = [:]

  mutating func enter(_ typeURLs: [String]) -> Int {
    if let number = numbers[typeURLs] {
      entries[number]?.users += 1
      return number
    }
    var urlsByType: [TypeName: [String]] = [:]
    for text in typeURLs {
      // Nothing is ever said of an unknown type but that there is none.
      guard let url = TypeURL(parsing: text), !url.isUnknownVersion else { continue }
      urlsByType[url.type, default: []].append(text)
    }
    let entry = Entry(typeURLs: typeURLs, urlsByType: urlsByType, users: 1)
    let number = entries.firstIndex { $0 == nil } ?? entries.count
    if number == entries.count { entries.append(entry) } else { entries[number] = entry }
    numbers[typeURLs] = number
    return number
  }

  mutating func leave(_ number: Int) {
    guard var entry = entries[number] else { return }
    entry.users -= 1
    entries[number] = entry.users > 0 ? entry : nil
    if entry.users == 0 { numbers.removeValue(forKey: entry.typeURLs) }
  }

  /// The names under which `type` is wanted.
  func urls(of type: TypeName, _ number: Int) -> [String] { entries[number]?.urlsByType[type] ?? [] }
}
