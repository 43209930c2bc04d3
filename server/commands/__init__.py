"""Commands beside running the server, one module per noun."""
