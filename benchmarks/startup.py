"""Time of the first things a user meets: `import mlc`, `mlc --help`, compiling with a cold and a warm cache.

python -m benchmarks.startup
python -m benchmarks.startup --model resnet50.dynamo bert.dynamo      also compile times of exported models
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.models import BUILD
from benchmarks.run import ask

COMMANDS = {
    "python (nothing imported)": ["-c", "pass"],
    "import mlc": ["-c", "import mlc"],
    "import numpy": ["-c", "import numpy"],
    "mlc --help": ["-m", "mlc", "--help"],
    "import mlc.compiler (every stage)": ["-c", "import mlc.compiler"],
}


def seconds(arguments: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--model", nargs="+", default=[], help="files of --models, without .onnx")
    parser.add_argument("--models", type=Path, default=BUILD)
    args = parser.parse_args()
    print("| what | median (s) | least (s) |\n| --- | ---: | ---: |")
    for name, arguments in COMMANDS.items():
        seconds(arguments)
        times = [seconds(arguments) for _ in range(args.rounds)]
        print(f"| {name} | {statistics.median(times):.3f} | {min(times):.3f} |", flush=True)
    for name in args.model:
        with tempfile.TemporaryDirectory() as cache:
            for state in ("cold", "warm"):
                path = str(args.models / f"{name}.onnx")
                answer = ask(measure="startup", engine="mlc", threads=1, path=path, cache=Path(cache))
                print(f"| compile {name}, {state} cache | {answer['load_s']:.2f} | |", flush=True)


if __name__ == "__main__":
    main()
