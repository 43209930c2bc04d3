"""Tests: wire layer."""
