"""What the integration tests stand on: real relays, a trust domain, clients that are not ours."""
