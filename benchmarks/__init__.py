"""Measures AxonML and its peers side by side: same machine, same database server, same client, one after the other.

Run by `make bench`; never part of the test run, and imported by nothing.
"""
