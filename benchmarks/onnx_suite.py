"""Run ONNX's own conformance suite (onnx.backend.test) and count what passes.

    python -m benchmarks.onnx_suite                                    mlc, counts by group
    python -m benchmarks.onnx_suite --backend onnxruntime --out ort.json
    python -m benchmarks.onnx_suite --filter '^test_conv' --verbose
    python -m benchmarks.onnx_suite --list cases.txt                   exit 1 if a listed case does not pass
    python -m benchmarks.onnx_suite --list cases.txt --update-list     write the list of passing cases
    python -m benchmarks.onnx_suite --table ort.json mlc.json
    python -m benchmarks.onnx_suite --compare ort.json mlc.json        what the first passes and the second does not

Each case runs in a process of its own and is compared by the suite's rule: number of outputs, exact shapes, exact
dtypes, rtol and atol of the case. passed; unsupported (the backend said so); rounding (outside of that tolerance, yet less
than a unit in the last place of the largest expected element away); wrong (an answer that differs); error (any other
exception); crash (death by a signal, no answer in time).
"""

import argparse
import json
import os
import re
import sys
import time
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.conformance.backends import BACKENDS, resolve
from benchmarks.conformance.isolation import Limits, Result, run_cases
from benchmarks.conformance.suite import GROUPS, Case, load_cases
from benchmarks.conformance.totals import STATUSES, table, totals


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="mlc", help=f"{', '.join(BACKENDS)} or module:function")
    parser.add_argument("--bake", action="store_true", help="give axes, shapes, pads, ... as initializers, not inputs")
    parser.add_argument("--filter", default="", help="regular expression on the case's name")
    parser.add_argument("--group", choices=GROUPS, action="append")
    parser.add_argument("--op", action="append", help="cases whose op under test is this one")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--resume", action="store_true", help="keep the results that --out holds already")
    parser.add_argument("--redo", choices=STATUSES, action="append", default=[], help="with --resume: run these again")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds per case")
    parser.add_argument("--memory-gib", type=float, default=0.0, help="data limit per case (0: none)")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--verbose", action="store_true", help="print every case that does not pass")
    parser.add_argument("--show", action="store_true", help="print the cases and stop")
    parser.add_argument("--list", type=Path, help="file of cases that must pass, one name per line")
    parser.add_argument("--update-list", action="store_true", help="write --list instead of checking it")
    parser.add_argument("--table", nargs="+", type=Path, metavar="JSON")
    parser.add_argument("--compare", nargs=2, type=Path, metavar="JSON")
    args = parser.parse_args()
    if (args.resume and not args.out) or (args.update_list and not args.list):
        parser.error("--resume needs --out, --update-list needs --list")
    return args


def chosen_cases(args: argparse.Namespace) -> list[Case]:
    cases = [case for case in load_cases() if re.search(args.filter, case.name)]
    if args.group:
        cases = [case for case in cases if case.group in args.group]
    if args.op:
        cases = [case for case in cases if case.op in args.op]
    if args.list and not args.update_list:
        listed = set(args.list.read_text().split())
        cases = [case for case in cases if case.name in listed]
    return cases


def run(args: argparse.Namespace, cases: list[Case]) -> dict[str, Any]:
    """Run the cases that have no result yet; the document of results, written to --out every hundred cases."""
    rows: dict[str, Any] = {}
    if args.resume and args.out.exists():
        old = json.loads(args.out.read_text())["cases"]
        rows = {name: row for name, row in old.items() if row["status"] not in args.redo}
    start = time.monotonic()

    def document() -> dict[str, Any]:
        seconds = round(time.monotonic() - start, 1)
        meta = {"backend": args.backend, "baked": args.bake, "timeout": args.timeout, "seconds": seconds}
        return {"meta": meta, **totals(rows), "cases": dict(sorted(rows.items()))}

    def report(case: Case, result: Result) -> None:
        rows[case.name] = {**asdict(result), "group": case.group, "domain": case.domain, "op": case.op}
        if args.verbose and result.status != "passed":
            print(f"{result.status:<12} {case.name:<56} {result.kind}: {result.reason[:200]}", flush=True)
        if len(rows) % 100 == 0:
            passed = sum(row["status"] == "passed" for row in rows.values())
            print(f"[{len(rows)}] {passed} passed, {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
            if args.out:
                args.out.write_text(json.dumps(document(), indent=1))

    limits = Limits(args.timeout, args.memory_gib)
    todo = [case for case in cases if case.name not in rows]
    run_cases(todo, resolve(args.backend), limits, args.jobs, args.bake, report)
    if args.out:
        args.out.write_text(json.dumps(document(), indent=1))
    return document()


def compare(first: Path, second: Path) -> None:
    one, other = (json.loads(path.read_text())["cases"] for path in (first, second))
    lost = [name for name, row in one.items() if row["status"] == "passed" and name in other]
    lost = [name for name in lost if other[name]["status"] != "passed"]
    for name in sorted(lost, key=lambda name: (one[name]["op"], name)):
        print(f"{other[name]['status']:<12} {name:<56} {other[name]['reason'][:140]}")
    print(f"{len(lost)} cases pass in {first} and not in {second}")


def main() -> int:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    warnings.simplefilter("ignore")
    args = arguments()
    if args.table:
        print(table([json.loads(path.read_text()) for path in args.table]))
        return 0
    if args.compare:
        compare(*args.compare)
        return 0
    cases = chosen_cases(args)
    if args.show:
        for case in cases:
            print(f"{case.group:<18} opset {case.opset:<3} {case.name:<72} {case.op or ','.join(case.ops)}")
        return 0
    document = run(args, cases)
    print(table([document]))
    for kind, count in document["kinds"].items():
        print(f"{count:6} {kind}")
    passing = sorted(name for name, row in document["cases"].items() if row["status"] == "passed")
    if args.update_list:
        args.list.write_text("\n".join(passing) + "\n")
    elif args.list:
        listed = {name for name in args.list.read_text().split() if re.search(args.filter, name)}
        if args.group or args.op:
            listed &= {case.name for case in cases}
        lost = sorted(listed - set(passing))
        for name in lost:
            row = document["cases"].get(name, {"status": "absent", "reason": "not in the installed suite"})
            print(f"no longer passes: {name}: {row['status']}: {row['reason']}")
        return 1 if lost else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
