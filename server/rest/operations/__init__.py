"""What the contract says about each served REST operation, one module per noun.

The route modules pair these with their handlers. Nothing here executes: changing a text or a shape here means
changing `schema/openapi.json` first.
"""
