"""How AWS, or what answers like it, is talked to."""
