"""Export the measured architectures at full size, with seeded random weights, to benchmarks/build/.

    python -m benchmarks.models                             every model, dynamo exporter, fixed and symbolic sizes
    python -m benchmarks.models --model bert --exporter legacy --symbolic

A file that is there already is kept; remove it, or pass --force, to write it anew.
"""

import argparse
import os
import time
from pathlib import Path

from benchmarks.model_inputs import EXPORTERS, file_name
from benchmarks.model_inputs import write as write_signatures

BUILD = Path(__file__).parent / "build"


def write_model(name: str, out: Path, exporters: list[str], symbolic: list[bool], force: bool) -> list[Path]:
    """Export one model in each asked form; returns the files, those that were there included."""
    from benchmarks.architectures import ARCHITECTURES
    from benchmarks.export import export

    paths = {(e, s): out / file_name(name, e, s) for e in EXPORTERS if e in exporters for s in symbolic}
    missing = {form: path for form, path in paths.items() if force or not path.exists()}
    if not missing:
        return list(paths.values())
    model = ARCHITECTURES[name](False)
    write_signatures(out, {name: model.signature})
    for (exporter, is_symbolic), path in missing.items():
        start = time.perf_counter()
        partial = path.with_name(f"{path.name}.part")
        export(model, partial, exporter, is_symbolic)
        os.replace(partial, path)
        size = path.stat().st_size / 2**20
        print(f"{path.name:<44} {size:8.1f} MiB {time.perf_counter() - start:6.1f} s", flush=True)
    return list(paths.values())


def main() -> None:
    from benchmarks.architectures import ARCHITECTURES, SMALL_ONLY

    names = [name for name in ARCHITECTURES if name not in SMALL_ONLY]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", choices=list(ARCHITECTURES), default=names, metavar="NAME")
    parser.add_argument("--exporter", nargs="+", choices=EXPORTERS, default=["dynamo"])
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--symbolic", dest="symbolic", action="store_const", const=[True], default=[False, True])
    sizes.add_argument("--fixed", dest="symbolic", action="store_const", const=[False])
    parser.add_argument("--out", type=Path, default=BUILD)
    parser.add_argument("--force", action="store_true", help="write files that are there already")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.model:
        write_model(name, args.out, args.exporter, args.symbolic, args.force)


if __name__ == "__main__":
    main()
