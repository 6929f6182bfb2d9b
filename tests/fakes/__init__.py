"""Stand-ins that speak real protocols on loopback, so that the tests need no mocks."""
