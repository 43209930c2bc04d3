"""What is true: entities, rules, use-cases and the ports they need. No I/O, no third-party library but numpy."""
