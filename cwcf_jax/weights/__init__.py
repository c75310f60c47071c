"""Where weights come from; see README.md in this folder."""
