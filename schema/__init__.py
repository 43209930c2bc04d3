"""What the graph looks like: types, inputs, enums and root fields. No rules, no SQL."""
