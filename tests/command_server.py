"""A process that runs the console script in forks of itself, for the fixture `aeseg`.

Importing torch and MONAI takes seconds, so it is done once. Each command is a process of its own: with its
arguments, exit code, output files, signals and start-up state. A line of stdin is a command as JSON; the
answer is the process id and, at its end, the exit code.
"""

import gc
import json
import os
import runpy
import signal
import sys
import traceback

import lightning_fabric
import monai.metrics
import monai.networks.nets
import safetensors.torch

import aeseg.app.fit
import aeseg.app.predict
import aeseg.app.report
import aeseg.data.check

NO_EXIT = 99  # the script must leave by sys.exit
NO_NUMBER = 98  # and with a number


def redirect(job):
    "Nothing to read; stdout and stderr go to files."
    write = os.O_WRONLY | os.O_CREAT
    for number, path, flags in ((0, os.devnull, os.O_RDONLY), (1, job["out"], write), (2, job["err"], write)):
        os.dup2(os.open(path, flags, 0o600), number)


def run_script(command):
    "Run the script of a command as a program; its exit code."
    sys.argv = command
    try:
        runpy.run_path(command[0], run_name="__main__")
    except SystemExit as e:
        return e.code if type(e.code) is int else NO_NUMBER
    except BaseException:
        traceback.print_exc()
        return 1
    return NO_EXIT


def run_command(job):
    "What the fork does; it does not return."
    redirect(job)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(job["cwd"])
    code = run_script(job["command"])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # without the second that tearing down torch takes


def main():
    gc.freeze()  # or every fork would copy all pages
    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if not pid:
            run_command(job)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
