"""This package holds the drivers: programs that parse flags, call the library and write results files."""
