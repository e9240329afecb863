"""The layers of mlc.nn, by family. Names and shapes of parameters, their first values and the order in state dicts are PyTorch's."""
