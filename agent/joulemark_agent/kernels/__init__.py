"""Pure numerics over whole blocks: decode, clean, energy, carbon, gas, window."""
