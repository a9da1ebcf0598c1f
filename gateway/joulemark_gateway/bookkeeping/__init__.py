"""Keeps the collector's own log: closes it, and shows its heads to witnesses and time stampers."""
