"""What a field does: adapters from a field's arguments to use-cases and dataloaders."""
