"""Tests: integration layer."""
