"""Timings of implementations against each other; nothing that the library needs."""
