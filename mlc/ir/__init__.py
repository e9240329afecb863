"""What a program is: dimensions, types, the graph and kernel dialects, builder, interpreter, weight store."""
