"""How fast each backend reads and answers, beside LiteRT-LM's own benchmark, LiteRT-LM in Chromium
and llama.cpp, on the same machine.

For each model, in a process of its own: seconds to load, tokens per second of prefill and of decode
(the best of --repeats: other work on the machine only ever slows one down), seconds from a short
question, the first after loading, to its first text, and peak memory. Decoding is greedy and does
not stop, so that every answer has the same length.

    python benchmarks/decode.py models/merged models/tflite/int8.tflite models/bundle/int8.task
    # An environment with llama-cpp-python
    python benchmarks/decode.py --llama PYTHON gemma-3-270m-q4_k_m.gguf
"""

import argparse
import json
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

QUESTION = [{"role": "user", "content": "Turn on the light in the kitchen, please."}]
COLUMNS = ("load s", "prefill tok/s", "decode tok/s", "first text s", "peak MB")


def main():
    args = parse_arguments()
    rows = [
        (name, run, measure(args, path, run)) for path in args.models for name, run in runs(path)
    ]
    counts = f"{args.prefill} tokens read, {args.decode} decoded, {args.threads} threads"
    print(f"\n{counts}, best of {args.repeats}\n")
    print("| model | measured | " + " | ".join(COLUMNS) + " |")
    print("|---|---" + "|---:" * len(COLUMNS) + "|")
    for name, run, result in rows:
        print(
            f"| {name} | {run} | "
            + " | ".join(_format(result.get(column)) for column in COLUMNS)
            + " |"
        )


def runs(path):
    """(name, measurement) of what can be measured of a model."""
    if path.is_dir():
        return [(path.name, "keras float32"), (path.name, "keras bfloat16")]
    kinds = {
        ".tflite": ["tflite"],
        ".gguf": ["llama.cpp"],
        ".task": ["bundle", "litert-lm benchmark"],
        ".litertlm": ["bundle", "litert-lm benchmark", "chromium"],
    }
    return [(path.name, run) for run in kinds[path.suffix]]


def measure(args, path, run):
    """One measurement in a process of its own, so that its peak memory is its own."""
    python = args.llama if run == "llama.cpp" else sys.executable
    options = [
        f"--{name}={getattr(args, name)}"
        for name in ("prefill", "decode", "threads", "repeats", "tokenizer")
    ]
    command = [
        python,
        __file__,
        str(path),
        "--only",
        run,
        *(o for o in options if not o.endswith("=None")),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{path}, {run}:\n{done.stderr}")
    print(f"{path.name}, {run}: {done.stdout.strip()}", file=sys.stderr, flush=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure_here(args):
    from gemma_finetune.utils.machine import peak_memory

    path, run = args.models[0], args.only
    if run == "litert-lm benchmark":
        result = litert_lm_benchmark(path, args)
    elif run == "llama.cpp":
        result = llama_cpp(path, args)
    elif run == "chromium":
        result = chromium(path, args)
    else:
        result = ours(path, run, args)
    if run != "chromium":  # the browser's processes are not this one
        result["peak MB"] = peak_memory() / 1e6
    print(json.dumps(result))


def ours(path, run, args):
    """One of the three backends, loaded as chat.py loads it."""
    from gemma_finetune.inference.backend import open_backend
    from gemma_finetune.inference.config import GenerateConfig
    from gemma_finetune.inference.sampler import Sampler

    kind, _, dtype = run.partition(" ")
    config = GenerateConfig(
        max_tokens=args.decode,
        temperature=0.0,
        top_k=None,
        top_p=1.0,
        repetition_penalty=1.0,
        seed=0,
        threads=args.threads,
        dtype=dtype or "float32",
        context_length=1024,
    )
    start = time.perf_counter()
    backend = open_backend(kind, str(path), config, args.tokenizer)
    result = {"load s": time.perf_counter() - start}
    start = time.perf_counter()
    pieces = backend.generate(QUESTION, Sampler(), 8)
    next(pieces)
    result["first text s"] = time.perf_counter() - start
    pieces.close()
    return result if kind == "bundle" else result | _token_model(backend._model, args)


def _token_model(model, args):
    """Prefill and decode speed of a model, after one run that warms it (Keras compiles, XNNPACK
    packs weights).
    """
    prefill, decode = [], []
    for _ in range(args.repeats + 1):
        model.rewind(0)
        prefill.append(_seconds(lambda: _prefill(model, args.prefill)))
        decode.append(_seconds(lambda: _decode(model, args.decode)))
    model.rewind(0)
    return {
        "prefill tok/s": args.prefill / min(prefill[1:]),
        "decode tok/s": args.decode / min(decode[1:]),
    }


def _prefill(model, count):
    model.prefill([5] * count)
    if "jax" in sys.modules:  # it answers before the work is done
        sys.modules["jax"].block_until_ready(model._cache)


def _decode(model, count):
    token = 5
    for _ in range(count):
        token = int(model.decode(token).argmax())


def _seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def litert_lm_benchmark(path, args):
    """What LiteRT-LM says of itself. Its prompt is padded to length with zeros."""
    import litert_lm

    litert_lm.set_min_log_severity(litert_lm.LogSeverity.FATAL)
    infos = [
        litert_lm.Benchmark(
            str(path),
            litert_lm.Backend.CPU(thread_count=args.threads),
            prefill_tokens=args.prefill,
            decode_tokens=args.decode,
            cache_dir=":nocache",
        ).run()
        for _ in range(args.repeats)
    ]
    return {
        "load s": min(i.init_time_in_second for i in infos),
        "prefill tok/s": max(i.last_prefill_tokens_per_second for i in infos),
        "decode tok/s": max(i.last_decode_tokens_per_second for i in infos),
    }


def chromium(path, args):
    """LiteRT-LM in WebAssembly, one thread, on the page of scripts/web.py: the first answer to the
    short question, and the best decode speed, which the page counts until the answer ends.
    """
    import tempfile

    from gemma_finetune.web.chat import Chat, ContextFull
    from gemma_finetune.web.chromium import open_chromium
    from gemma_finetune.web.layout import PAGE, RUNTIME, lay_out
    from gemma_finetune.web.npm import install
    from gemma_finetune.web.server import served

    modules = install(PAGE, RUNTIME)
    with tempfile.TemporaryDirectory() as folder:
        lay_out(Path(folder) / "site", modules, [path])
        with served(Path(folder) / "site") as url, open_chromium() as page:
            chat = Chat(page, seconds=600)
            start = time.perf_counter()
            page.goto(url)
            chat.wait_until_ready()
            load, speeds, firsts = time.perf_counter() - start, [], []
            for _ in range(args.repeats):
                chat.new_chat()
                with suppress(ContextFull):  # a model that goes on to the end of its context
                    chat.ask(QUESTION[0]["content"], 0)
                speeds.append(chat.speed() or 0)
                firsts.append(chat.first_token())
    return {"load s": load, "decode tok/s": max(speeds), "first text s": firsts[0]}


def llama_cpp(path, args):
    """The same work in llama.cpp, through llama-cpp-python: greedy, from the logits themselves."""
    import numpy as np
    from llama_cpp import Llama, llama_get_logits_ith

    from gemma_finetune.formats.chat_template import render_prompt

    start = time.perf_counter()
    size = {
        "n_ctx": 1024,
        "n_batch": 512,
        "n_threads": args.threads,
        "n_threads_batch": args.threads,
    }
    model = Llama(str(path), **size, verbose=False)
    load, prefill, decode = time.perf_counter() - start, [], []
    question = render_prompt(QUESTION).encode()
    first = _seconds(lambda: model.eval(model.tokenize(question, special=True)))

    def answer():
        for _ in range(args.decode):
            logits = np.ctypeslib.as_array(llama_get_logits_ith(model.ctx, -1), (model.n_vocab(),))
            model.eval([int(logits.argmax())])

    for _ in range(args.repeats):
        model.reset()
        prefill.append(_seconds(lambda: model.eval([5] * args.prefill)))
        decode.append(_seconds(answer))
    speeds = {
        "prefill tok/s": args.prefill / min(prefill),
        "decode tok/s": args.decode / min(decode),
    }
    return {"load s": load, "first text s": first, **speeds}


def _format(value):
    return "" if value is None else f"{value:,.0f}" if value >= 20 else f"{value:.2f}"


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "models", nargs="+", type=Path, help="directories, .tflite, .task, .litertlm, .gguf"
    )
    parser.add_argument("--prefill", type=int, default=512)
    parser.add_argument("--decode", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tokenizer", help="tokenizer.model for a .tflite of another pipeline")
    parser.add_argument("--llama", default=sys.executable, help="a Python with llama-cpp-python")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse_arguments()
    measure_here(arguments) if arguments.only else main()
