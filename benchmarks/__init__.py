"""This package measures the speed of the library and of other implementations; the library does not need it."""
