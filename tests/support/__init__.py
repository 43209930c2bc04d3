"""Machinery behind the fixtures; holds no tests."""
