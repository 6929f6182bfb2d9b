"""What would be made: the graph, hit or miss, and why."""
