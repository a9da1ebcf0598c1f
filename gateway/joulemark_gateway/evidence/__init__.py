"""What is kept for ever: batches, their proofs, and the history that is read back from them."""
