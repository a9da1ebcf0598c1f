"""Joulemark's collector: keeps evidence, measures reductions, reports and verifies them."""
