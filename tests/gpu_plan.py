"""A plan for a GPU that is there for a few minutes: `make gpu GPU_ARGS="--minutes 12"`.

    python tests/gpu_plan.py --minutes 12 --out runs/gpu --data-root DATA
    python tests/gpu_plan.py --allow-cpu            the same plan, scaled down, on the CPU
    python tests/gpu_plan.py --quick                the checks only, see gpu_check.py
    python tests/gpu_plan.py --parts tasks,gan      these parts only

The parts, in this order: checks; speed against the textbook; share of the peak by layer group; time to
quality; the four tasks side by side; one GAN of the preset `gpu`; tables until the time is up. A part that
would not fit into the time that is left is left out, and one that fails is noted. What is known is written as
it comes: at most six files in --out. The same command continues: finished parts are not run again, and
interrupted trainings go on where --work is still there.

The exit code is 0 when nothing failed, 1 when something did, 2 without a CUDA GPU, 130 after an interruption.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).resolve()
POLL = 1.0  # seconds between two looks at a part
REFRESH = 20.0  # seconds between two packs of finished units
LONGEST = 2.5  # times its estimate: a part that hangs leaves time to the others
FINISHED, FAILED, LEFT_OUT = "finished", "failed", "left out"
RUNNING, INTERRUPTED = "running", "interrupted"  # the same after a kill


def reserve(minutes):
    "Seconds at the end that are kept for writing."
    return min(20.0, 0.05 * 60 * minutes)


def fits(estimate, deadline, now):
    "Whether a part of so many minutes ends before the deadline (seconds)."
    return now + 60 * estimate <= deadline


# ---------------------------------------------------------------- a part, in a process of its own


def die_with(parent):
    "End this process and all that it started when its parent is gone."
    while os.getppid() == parent:
        time.sleep(POLL)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def run_child(name, settings, path, parent):
    "Run one part here."
    threading.Thread(target=die_with, args=[parent], daemon=True).start()
    import gpu_parts

    gpu_parts.run_part(name, gpu_parts.Settings(**json.loads(settings)), path)


def start_child(name, settings, path, log):
    command = [sys.executable, str(HERE), "--part", name, "--settings", json.dumps(asdict(settings))]
    command += ["--result", str(path), "--parent", str(os.getpid())]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, env=environment
    )


def end_group(process):
    "End a part and all that it started."
    for sign, seconds in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 3.0)):
        until = time.monotonic() + seconds
        try:
            os.killpg(process.pid, sign)
            while time.monotonic() < until:
                process.poll()
                os.killpg(process.pid, 0)
                time.sleep(0.05)
        except (ProcessLookupError, PermissionError):
            break
    process.wait()


# ---------------------------------------------------------------- the record


@dataclass
class Record:
    "What is known, in memory and in the files of --out."

    settings: object  # of gpu_parts
    state: dict  # machine, data, parts: name -> state, seconds, result, ...

    @classmethod
    def open(cls, settings):
        path = Path(settings.out) / "gpu.json"
        state = json.loads(path.read_text()) if path.exists() else dict(parts={})
        return cls(settings, state)

    def part(self, name):
        return self.state["parts"].setdefault(name, dict(state="", seconds=0.0, result={}, note=""))

    def write(self):
        from gpu_parts import PARTS

        from aeseg.core.files import atomic_write

        out = Path(self.settings.out)
        texts = {"gpu.json": json.dumps(self.state, indent=1), "gpu.md": summary(self.state, PARTS)}
        shares = self.state["parts"].get("shares", {}).get("result")
        if shares:
            lines = read_result(PARTS["shares"], shares)
            texts["profile.txt"] = "\n".join(line for line in lines if line != "```")
        for name, text in texts.items():
            with atomic_write(out / name) as temporary:
                temporary.write_text(text + "\n")

    def refresh(self, name, path):
        "Read what a part has written so far. What goes wrong here is noted and does not end the plan."
        part = self.part(name)
        try:
            if path.exists():
                part["result"] = {**part["result"], **json.loads(path.read_text())}
            self.read_units(name)
        except Exception as error:
            part["note"] = f"{part['note']} not recorded: {type(error).__name__}: {error}".strip()
        self.write()

    def read_units(self, name):
        "The finished units of a part; all of them are packed."
        from gpu_parts import UNITS, unit_result

        from aeseg.studies.units import pack_units

        store = self.settings.store
        if name in UNITS:
            self.part(name)["result"] |= unit_result(UNITS[name](self.settings), store)
            if store.keys():
                pack_units(store)


def machine_facts(kind):
    import torch

    from aeseg.core.runs import provenance

    facts = {
        key: value for key, value in provenance().items() if key not in ("events", "directory", "command")
    }
    facts["device"] = facts["gpu"] or "the CPU, in place of a GPU"
    if kind == "cuda":
        properties = torch.cuda.get_device_properties(0)
        facts.update(cuda=torch.version.cuda, cudnn=torch.backends.cudnn.version())
        facts.update(gpus=torch.cuda.device_count(), memory_mb=round(properties.total_memory / 1e6))
    return facts


def summary(state, parts):
    "The record as Markdown."
    machine, data = state["machine"], state["data"]
    lines = [f"# {machine['device']}", ""]
    facts = (
        f"{key} {machine[key]}" for key in ("torch", "cuda", "cores", "commit", "started") if key in machine
    )
    lines += [f"{', '.join(facts)}; {data}.", ""]
    if state["small"]:
        lines += ["Scaled down: this shows that all parts work; the numbers mean nothing.", ""]
    lines += ["| part | state | seconds | commit |", "| --- | --- | --- | --- |"]
    named = {name: state["parts"][name] for name in parts if name in state["parts"]}
    for name, part in named.items():
        note = f" ({part['note']})" if part["note"] else ""
        commit = (part.get("commit") or "")[:10]
        lines.append(f"| {name} | {part['state']}{note} | {part['seconds']:.0f} | {commit} |")
    for name, part in named.items():
        if part["result"]:
            lines += ["", f"## {parts[name].title}", "", *read_result(parts[name], part["result"])]
    return "\n".join(lines)


def read_result(part, result):
    "A result in words; as it is where a part that was ended left half of one."
    try:
        return part.read(result)
    except (KeyError, TypeError, AttributeError):
        return ["```", json.dumps(result), "```"]


# ---------------------------------------------------------------- the plan


class Stopped(Exception):
    "SIGTERM or Ctrl-C."


def stop(*_):
    raise Stopped


def run_one(record, name, deadline):
    "Run a part until it ends, or until its deadline; what it wrote is in the record afterwards."
    settings, part = record.settings, record.part(name)
    path = Path(settings.work) / "parts" / f"{name}.json"
    path.unlink(missing_ok=True)
    start, state, note = time.monotonic(), INTERRUPTED, "its time was up"
    part.update(state=RUNNING, note="", commit=record.state["machine"]["commit"])
    part.update(device=record.state["machine"]["device"])
    record.write()
    with (Path(settings.out) / "log.txt").open("a") as log:
        print(f"---- {name}", file=log, flush=True)
        process = start_child(name, settings, path, log)
        try:
            looked = start
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(POLL)
                if time.monotonic() > looked + REFRESH:
                    record.refresh(name, path)
                    looked = time.monotonic()
            if process.poll() is not None:
                code = process.returncode
                state, note = (FINISHED, "") if code == 0 else (FAILED, f"exit code {code}, see log.txt")
        except Stopped:
            note = "stopped"
            raise
        finally:
            end_group(process)
            part.update(state=state, note=note)
            part["seconds"] = round(part["seconds"] + time.monotonic() - start, 1)
            record.refresh(name, path)


def run_plan(record, names, minutes, begin):
    "Run the parts that are not finished and fit."
    from gpu_parts import PARTS, UNITS

    deadline = begin + 60 * minutes - reserve(minutes)
    for name in names:
        part = record.part(name)
        estimate = PARTS[name].minutes / (20 if record.settings.small else 1)
        if name in UNITS and part["state"] in (INTERRUPTED, RUNNING):  # what is left of it is less
            estimate = min(estimate, 1.0)
        left = (deadline - time.monotonic()) / 60
        if part["state"] == FINISHED:
            print(f"{name}: finished before", flush=True)
            continue
        if not fits(estimate, deadline, time.monotonic()):
            if not part["result"]:
                part["state"] = LEFT_OUT
            part["note"] = f"about {estimate:.2g} minutes are needed, {max(left, 0):.2g} were left"
            record.write()
        else:
            endless = record.settings.small or name == "tables"
            longest = float("inf") if endless else 60 * LONGEST * PARTS[name].minutes
            run_one(record, name, min(deadline, time.monotonic() + longest))
        note = f" ({part['note']})" if part["note"] else ""
        print(f"{name}: {part['state']}{note}, {part['seconds']:.0f} s", flush=True)


def read_arguments(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=12.0, help="time for all parts (default 12)")
    parser.add_argument("--out", default="runs/gpu", help="folder of the results (default runs/gpu)")
    parser.add_argument("--work", help="folder of runs and units (default: beside --out, with _work)")
    parser.add_argument("--data-root", default="", help="folder that holds the data sets (default: phantoms)")
    parser.add_argument("--parts", help="names with commas (default: all)")
    parser.add_argument("--workers", type=int, help="trainings side by side (default: half of the cores)")
    parser.add_argument("--allow-cpu", action="store_true", help="without a GPU: scaled down, on the CPU")
    parser.add_argument("--small", action="store_true", help="scaled down on a GPU, too")
    parser.add_argument("--quick", action="store_true", help="the checks only")
    for name in ("--part", "--settings", "--result", "--parent"):  # of the process of a part
        parser.add_argument(name, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if not options.minutes > 0:
        parser.error(f"--minutes {options.minutes:g} must be above zero")
    return parser, options


def chosen_parts(parser, options):
    from gpu_parts import PARTS

    names = "checks" if options.quick else options.parts or ",".join(PARTS)
    unknown = [name for name in names.split(",") if name not in PARTS]
    if unknown:
        parser.error(f"--parts {options.parts}: {unknown[0]!r} is unknown; valid are {', '.join(PARTS)}")
    return [name for name in PARTS if name in names.split(",")]


def make_settings(options, kind):
    from gpu_parts import Settings

    out = Path(options.out).resolve()
    work = Path(options.work).resolve() if options.work else out.with_name(out.name + "_work")
    root = str(Path(options.data_root).resolve()) if options.data_root else ""
    workers = options.workers or max(2, min(8, (os.cpu_count() or 2) // 2))
    small = options.small or kind == "cpu"
    settings = Settings(kind, str(out), str(work), root, workers, small)
    if settings.tasks:
        return settings
    print(f"{root} holds no data set of a task, so phantoms take their place", flush=True)
    return Settings(kind, str(out), str(work), "", workers, small)


def main():
    begin = time.monotonic()
    parser, options = read_arguments()
    if options.part:
        run_child(options.part, options.settings, Path(options.result), int(options.parent))
        return 0
    import torch

    kind = "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "cpu" and not options.allow_cpu:
        message = "no CUDA GPU here, so nothing was run; --allow-cpu runs the same plan, scaled down, without"
        print(message, file=sys.stderr)
        return 2
    names, settings = chosen_parts(parser, options), make_settings(options, kind)
    Path(settings.out).mkdir(parents=True, exist_ok=True)
    record = Record.open(settings)
    data = f"data of {', '.join(settings.tasks)}" if settings.data_root else "phantoms"
    known = {key: record.state.get(key, value) for key, value in (("data", data), ("small", settings.small))}
    if known != dict(data=data, small=settings.small):
        scaled = "scaled down" if known["small"] else "of full size"
        parser.error(f"{settings.out} holds results on {known['data']}, {scaled}; choose another --out")
    record.state.update(machine=machine_facts(kind), data=data, small=settings.small)
    print(f"{record.state['machine']['device']}, torch {torch.__version__}, {data}", flush=True)
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, stop)
    try:
        run_plan(record, names, options.minutes, begin)
    except Stopped:
        print("interrupted; the same command continues", file=sys.stderr)
        return 130
    failed = [name for name in names if record.part(name)["state"] == FAILED]
    print(f"results: {settings.out}; {len(failed)} failed{': ' if failed else ''}{', '.join(failed)}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
