"""What is known of each operator: intervals, claims, rules, and one walk through the graph."""
