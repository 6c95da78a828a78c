"""Measures wren beside its peers.  Figures are reported, and no test depends on them."""
