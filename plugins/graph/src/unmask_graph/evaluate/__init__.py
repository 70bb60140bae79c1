"""The published protocols for frozen codes: a linear probe of nodes, an SVM of graphs, AUC and AP of links."""

POOLS = ("sum", "mean", "max")
"""Ways from a graph's codes to one vector."""
