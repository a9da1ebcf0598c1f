"""The virtual equipment hall: two recorded compressors and an inverter, a simulated furnace."""
