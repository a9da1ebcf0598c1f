"""From the wire to the evidence store: judge, commit, cosign, answer; nothing unproved gets in."""
