"""onnxruntime's own operators, of domain com.microsoft: what its quantiser and its transformer optimiser write into models.

They have no schema outside of onnxruntime, so that handlers state each attribute's default.
"""

from functools import partial

from mlc.frontends.onnx.table import MICROSOFT, handles

contributed = partial(handles, since=(1,), domain=MICROSOFT)
