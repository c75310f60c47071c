"""This package downloads, finds and converts the weights of networks; weights/README.md describes their sources."""
