"""The process: settings, composition root, ASGI application, routes, pages, command line."""
