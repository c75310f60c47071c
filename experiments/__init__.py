"""Drivers: each parses flags, hands typed configurations to the library and writes its results."""
