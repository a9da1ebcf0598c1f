"""Pure numerics over whole blocks: decode, clean, energy, carbon, window."""
