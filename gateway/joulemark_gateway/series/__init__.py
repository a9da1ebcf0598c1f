"""Copies of the evidence for looking at: rebuildable, never the truth, dropped without loss."""
