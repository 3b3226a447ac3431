"""Parsers of files from outside, hardened: no code of a file is run, and no size it claims is believed."""
