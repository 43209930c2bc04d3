"""The GraphQL endpoint: HTTP, WebSocket and SSE around any Strawberry schema, with its limits and its error shape."""
