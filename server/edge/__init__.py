"""The edge: what happens to every request before any route sees it, in pure ASGI."""
