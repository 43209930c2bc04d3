"""How users' code is run: kernels and, later, jobs; always outside the web process."""
