"""Frames, the graph they flow through, and the logic its nodes run on."""
