// A new generation on its way to the clients of one loop. Without an audit: one walk over all of them. With one, who
// waits for newer content only is announced first, from `Seats` alone; when those records are written, the walk
// follows. Who has more to it is asked at once, and its responses wait one by one (`Scribe.hold`).
//
// An announcement that waits lets newer generations wait behind it, so that records and deliveries agree. A narrowing
// does not wait: it takes a client out of the announcement.

import Gates
import Primitives
import Ring
import Snapshots

extension ServeLoop {
  func serveNewViews(since previous: Generation?) {
    guard let generation else { return }
    var search = previous.map { NarrowingSearch(from: $0, to: generation) }
    let waiting = announcement
    var ofWaiting = waiting.map {
      (NarrowingSearch(from: $0.base, to: generation), NarrowingSearch(from: $0.generation, to: generation))
    }
    if waiting == nil, let previous, announce(from: previous, to: generation, &search) == clients.count {
      return
    }
    // Who was ended has a place in older rules only.
    for (index, client) in clients.values.enumerated() where !client.isEnded {
      if let socket = clients.socket(at: index + EventLoop.lookahead) { loop.approach(socket) }
      let place = client.grant.classIndex
      if let seat = client.seat, seats.isAnnounced(seat) {
        let narrows =
          ofWaiting?.0.narrows(from: client.servedClass, to: place) == true
          || ofWaiting?.1.narrows(from: client.servedClass, to: place) == true
        guard narrows, seats.takeAnnounced(seat) != nil else { continue }
        serve(client, generation.views[place], narrows: true)
      } else {
        let narrows = search?.narrows(from: client.servedClass, to: place) ?? false
        serve(client, generation.views[place], narrows: narrows)
      }
    }
  }

  private func serve(_ client: Client, _ view: View, narrows: Bool) {
    client.servedClass = client.grant.classIndex
    client.update(view, narrows: narrows)
  }

  /// Makes the records of all who wait for newer content only. Returns how many those are.
  private func announce(
    from previous: Generation, to next: Generation, _ search: inout NarrowingSearch?
  ) -> Int {
    guard let scribe, scribe.hasRoom else { return 0 }
    var forecasts = ForecastSearch(from: previous, to: next)
    var announced = Announcement(from: previous, to: next, at: loop.now, room: clients.count)
    for seat in 0..<seats.end where scribe.hasRoom {
      guard let candidate = seats.candidate(seat) else { continue }
      guard scribe.isKnown(candidate.name) else {
        seats.forget(seat)
        continue
      }
      guard
        let forecast = forecasts.forecast(
          place: candidate.place, interest: candidate.interest, seats.interests, name: scribe.name),
        search?.narrows(from: candidate.place, to: candidate.place) == false
      else { continue }
      var upTo: UInt64 = 0
      for item in forecast.items { upTo = scribe.announce(item.what, to: candidate.name) }
      seats.announce(seat)
      announced.append(Announcement.Entry(seat: seat, forecast: forecast, upTo: upTo))
    }
    guard !announced.isEmpty else { return 0 }
    announcement = announced
    scribe.handOver()
    return announced.entries.count
  }

  /// The streams of a client have changed: it is given the newest view at once, and not what was announced. One that
  /// began meanwhile has newer content than that already.
  func callOff(_ client: Client) {
    guard let generation, let seat = client.seat, seats.takeAnnounced(seat) != nil else { return }
    serve(client, generation.views[client.grant.classIndex], narrows: false)
  }

  /// Delivers what was announced, as far as it is written by now. After `serveNewViews`: what is announced still then
  /// takes nothing away that has to be taken away, nor gives it.
  func deliverAnnounced() {
    guard var announced = announcement, let scribe, let generation else { return }
    let written = scribe.written
    let isOld = generation.number != announced.generation.number
    while let entry = announced.takeNext(written: written) {
      if let ahead = announced.approaching, let socket = seats.socket(ahead) { loop.approach(socket) }
      guard let client = seats.takeAnnounced(entry.seat), !client.isEnded else { continue }
      client.push(
        announced.generation.views[client.servedClass], entry.forecast, arrivedAt: announced.at)
      // Whom that narrows was taken out of the announcement when it came.
      if isOld { serve(client, generation.views[client.grant.classIndex], narrows: false) }
    }
    // What the deliveries lost, if anything, is out of it already.
    announcement = announced.isEmpty ? nil : announced
  }

  /// The records after the first `kept` are lost: what they announce does not leave, and its streams with it.
  func denyAnnounced(after kept: UInt64) {
    guard let seats = announcement?.removeAll(after: kept) else { return }
    for seat in seats { self.seats.takeAnnounced(seat)?.deny() }
    if announcement?.isEmpty == true { announcement = nil }
  }
}
