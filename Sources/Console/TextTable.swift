// Columns of text, each as wide as its widest cell.

import Primitives

struct TextTable {
  private let header: [String]
  private(set) var rows: [[String]] = []

  init(header: [String] = []) { self.header = header }

  mutating func add(_ cells: String...) { rows.append(cells.map(ForeignText.line)) }

  /// Indented by two, without trailing blanks. The last column is not padded.
  func lines() -> [String] {
    let all = (header.isEmpty ? [] : [header]) + rows
    let columns = all.map(\.count).max() ?? 0
    let widths = (0..<columns).map { column in
      all.map { column < $0.count ? $0[column].count : 0 }.max() ?? 0
    }
    return all.map { row in
      var line = ""
      for (cell, width) in zip(row, widths) {
        line += "  " + cell + String(repeating: " ", count: width - cell.count)
      }
      while line.last == " " { line.removeLast() }
      return line
    }
  }
}
