"""The process that runs workflows and activities of one cluster."""
