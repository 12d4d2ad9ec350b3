"""What the curvature is: products with the Hessian, its ends, its density and its trace."""
