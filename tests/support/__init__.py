"""This package contains helpers of the tests: oracles, servers, small indexes, and checks of optional requirements."""
