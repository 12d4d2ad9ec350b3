"""The transformations of the parameters that leave J unchanged: found in the graph, verified, counted, used."""
