"""Helpers that tests share: oracles, servers, indexes of small pictures, and what tests need but may not find."""
