"""REST under /api: thin routes that parse, call one use-case and encode. No rule lives here."""
