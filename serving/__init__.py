"""How predictions are computed: replica processes, their batcher, and the pool that talks to them.

The host and web side (`pool`, `replicas`, `launcher`, `connection`) never imports torch; the replica side
(`serving.replica`) never imports anything of the web. They meet in `wire`.
"""
