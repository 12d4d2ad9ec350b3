"""The Hessian of J from its graph, in floats for many points at once and in rigorous enclosures on a region."""
