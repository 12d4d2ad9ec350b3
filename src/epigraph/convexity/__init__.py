"""Is it convex?  The prover, the refuter, and the verdict they make together."""
