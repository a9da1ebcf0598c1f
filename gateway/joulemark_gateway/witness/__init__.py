"""A second witness: it sees the heads of collectors' logs and nothing else, and cosigns them."""
