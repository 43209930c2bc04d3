"""The replica process: one loaded model, its queue and its batcher. Never imported by a web process."""
