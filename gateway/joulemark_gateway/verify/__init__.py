"""The offline verifier, step by step: each step is a pure function from a bundle to findings."""
