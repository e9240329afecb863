"""Classical machine learning, domain ai.onnx.ml: linear models, tree ensembles, support vectors and the preparation of features.

There are no strings and no maps here: a classifier whose labels are strings has its scores only, and ZipMap gives the table of
scores, a column per class in the order of its labels.
"""

from functools import partial

from mlc.frontends.onnx.table import handles

ML = "ai.onnx.ml"
learned = partial(handles, domain=ML)
