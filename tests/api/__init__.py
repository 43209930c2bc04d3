"""Tests: api layer."""
