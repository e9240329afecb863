"""Write the miniature models of this folder: `python -m tests.onnx_models.miniatures [NAME ...]` (needs PyTorch).

Each of the benchmarks' architectures at a few tens of KiB, through both exporters, with symbolic sizes.
"""

import argparse
from pathlib import Path

import onnx

from benchmarks.architectures import ARCHITECTURES
from benchmarks.export import export
from benchmarks.model_inputs import EXPORTERS, file_name, write

FOLDER = Path(__file__).parent


def strip(path: Path) -> None:
    """Drop what would tell of the machine and make up most of a small file: stack traces and other metadata of nodes."""
    model = onnx.load(path)
    for item in [*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output, model.graph]:
        del item.metadata_props[:]
        if isinstance(item, onnx.NodeProto):
            item.doc_string = ""
    onnx.checker.check_model(model)
    onnx.save(model, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="models to write; all without")
    for name in parser.parse_args().names or ARCHITECTURES:
        model = ARCHITECTURES[name](True)
        write(FOLDER, {name: model.signature})
        for exporter in EXPORTERS:
            path = FOLDER / file_name(name, exporter, symbolic=True)
            export(model, path, exporter, symbolic=True)
            strip(path)
            print(f"{path.name:<40} {path.stat().st_size / 1024:7.1f} KiB")


if __name__ == "__main__":
    main()
