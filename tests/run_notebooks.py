"""Run the component notebooks (nbs/NN_*/*.ipynb, nbs/NN_*.ipynb, nbs/index.ipynb if it has code) and how-tos.

    python tests/run_notebooks.py                 all of them, with nbdev's test machinery
    python tests/run_notebooks.py 30_method vae   those whose path contains one of the words

Each notebook gets its own process; two run at a time, with one thread each.
The experiments are run by pytest, with their `smoke` parameters.
"""

import os

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"
os.environ["IN_TEST"] = "1"  # as nbdev's own test command does

import argparse
import contextlib
import io
import json
import multiprocessing
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WORKERS = 2
# it takes 5 s to import them
PRELOADED = ["torch", "torch._dynamo", "monai.networks.nets", "seaborn", "highdicom", "nbdev.test"]


def has_code(path):
    "True when the notebook has a code cell with more than comments."
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    lines = [line.strip() for line in "\n".join(code).splitlines()]
    return any(line and not line.startswith("#") for line in lines)


def notebooks(words):
    "The notebooks to run, those with one of `words` in their name if any are given."
    folder = ROOT / "nbs"
    paths = sorted([*folder.glob("[0-9]*_*/[0-9]*_*.ipynb"), *folder.glob("[0-9]*_*.ipynb")])
    paths += sorted(folder.glob("how_to/[0-9]*_*.ipynb"))
    index = folder / "index.ipynb"
    if index.exists() and has_code(index):
        paths.append(index)
    return [p for p in paths if not words or any(w in p.relative_to(ROOT).as_posix() for w in words)]


def child(path, flags, pipe):
    "Run one notebook in this process and send (passed, what it wrote) to `pipe`."
    os.chdir(ROOT)
    from nbdev.config import get_config
    from nbdev.test import test_nb

    err = io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(err):
        ok, _ = test_nb(path, skip_flags=get_config().tst_flags.split(), force_flags=flags, basepath=ROOT)
    pipe.send((ok, err.getvalue()))


def run(ctx, path, flags, limit):
    "Run one notebook in a process of its own: (path, passed, seconds, what it wrote)."
    start = time.time()
    receiver, sender = ctx.Pipe(duplex=False)
    proc = ctx.Process(target=child, args=(path, flags, sender))
    proc.start()
    sender.close()
    try:
        ok, err = receiver.recv() if receiver.poll(limit) else (False, f"stopped after {limit} seconds\n")
    except EOFError:
        proc.join()
        ok, err = False, f"its process ended early (exit code {proc.exitcode})\n"
    proc.join(5)
    if proc.is_alive():
        proc.kill()
    return path, ok, time.time() - start, err


def main():
    parser = argparse.ArgumentParser(description="Run the component notebooks.")
    parser.add_argument("names", nargs="*", help="run only notebooks whose name contains one of these")
    parser.add_argument(
        "--flags", default="", help="test flags to run that are skipped by default, e.g. 'slow'"
    )
    parser.add_argument("--timeout", type=int, default=900, help="seconds for one notebook")
    args = parser.parse_args()

    paths = notebooks(args.names)
    if not paths:
        print("notebooks: none found" + (f" for {' '.join(args.names)}" if args.names else " in nbs"))
        return 1
    ctx = multiprocessing.get_context("forkserver")
    ctx.set_forkserver_preload(PRELOADED)
    failed = 0
    with ThreadPoolExecutor(WORKERS) as pool:
        futures = [pool.submit(run, ctx, p, args.flags.split(), args.timeout) for p in paths]
        for future in futures:
            path, ok, seconds, err = future.result()
            print(f"{'pass' if ok else 'FAIL'}  {seconds:6.1f} s  {path.relative_to(ROOT)}", flush=True)
            if not ok:
                print(err.rstrip(), flush=True)
            failed += not ok
    print(f"notebooks: {len(paths) - failed} passed, {failed} failed", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
