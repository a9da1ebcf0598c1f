"""What is handed to a reader: one file per report, its figures, its page and its plots."""
