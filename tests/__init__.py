"""Tests in layers: unit, integration, api, wire, e2e."""
