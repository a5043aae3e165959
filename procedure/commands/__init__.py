"""All commands of the procedure."""
