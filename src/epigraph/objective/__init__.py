"""What is analysed: the objective, its parameters' blocks and domain, and the graph that defines it as a real function."""
