"""Derivatives of a graph, as more of the graph: push (forward mode) and pull (reverse mode) from the rules beside the ops."""
