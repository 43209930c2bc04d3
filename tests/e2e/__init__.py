"""Tests: e2e layer."""
