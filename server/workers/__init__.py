"""Several web processes: the host that starts and informs them, and what each of them does."""
