"""Where things are kept: tables, repositories, stores, the event bus, the bundled PostgreSQL."""
