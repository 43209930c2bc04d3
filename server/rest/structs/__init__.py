"""The shapes of REST bodies, one module per noun. Shapes only: no rule, no I/O, no conversion lives here."""
