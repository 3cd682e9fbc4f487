"""The node types a pipeline file can name."""
