"""Measure the inspector in a browser: first gallery, next case, switched layers, a dragged threshold.

    python tests/bench_inspect.py [CASES, default 1000] [RUN, default: one on phantoms is made]

All times are taken in the page: from what starts the action to the next frame in which its result is drawn.
"""

import sys
import tempfile
from pathlib import Path

from browser import CHROMIUM, Inspected, Lab, chromium, make_run, run_cell

TARGETS = {
    "first gallery after the cell runs": 2000,
    "next case, median": 200,
    "next case, slowest of 30": 200,
    "next page": 2000,
    "a layer switched, median": 200,
    "a round switched, median": 200,
}

# Presses a key or clicks a selector; resolves to milliseconds until the frame after an attribute has changed.
TIME_ACTION = """([what, target, attribute]) => new Promise(done => {
  const root = document.querySelector('.aeseg-inspector')
  const read = () => root.getAttribute('data-' + attribute)
  const before = read()
  const start = performance.now()
  const look = () => {
    if (read() === before || read() === null) setTimeout(look, 1)
    else requestAnimationFrame(() => done(performance.now() - start))
  }
  if (what === 'key') root.dispatchEvent(new KeyboardEvent('keydown', {key: target, bubbles: true}))
  else root.querySelector(target).click()
  look()
})"""

# Sets the slider of rounds; resolves to milliseconds after the next frame.
TIME_ROUND = """value => new Promise(done => {
  const slider = document.querySelector('.ai-round')
  const start = performance.now()
  slider.value = value
  slider.dispatchEvent(new Event('input'))
  requestAnimationFrame(() => done(performance.now() - start))
})"""

# Drags the threshold as fast as frames come for two seconds; resolves to updates a second that were drawn.
DRAG_THRESHOLD = """() => new Promise(done => {
  const slider = document.querySelector('.ai-threshold')
  const low = Number(slider.min)
  const high = Number(slider.max)
  const start = performance.now()
  let frames = 0
  const move = () => {
    const passed = performance.now() - start
    if (passed > 2000) return done(frames / passed * 1000)
    slider.value = low + (high - low) * (.5 + .5 * Math.sin(passed / 200))
    slider.dispatchEvent(new Event('input'))
    frames++
    requestAnimationFrame(move)
  }
  move()
})"""


def middle(values):
    return sorted(values)[len(values) // 2]


def measure(page, it):
    "Name -> milliseconds, and updates a second."

    def time_action(what, target, attribute):
        return page.evaluate(TIME_ACTION, [what, target, attribute])

    page.wait_for_timeout(3000)
    steps = []
    for _ in range(30):
        steps.append(time_action("key", "ArrowRight", "shown"))
        page.wait_for_timeout(150)
    times = {"next case, median": middle(steps), "next case, slowest of 30": max(steps)}
    times["next page"] = time_action("click", "[title='Next page']", "page")
    page.wait_for_timeout(1500)
    layers = [time_action("key", str(1 + k % 7), "shown") for k in range(21)]
    times["a layer switched, median"] = middle(layers)
    times["a round switched, median"] = middle([page.evaluate(TIME_ROUND, str(k % 2)) for k in range(11)])
    it.tab("Selection")
    it.until("updates", ".")
    return times, page.evaluate(DRAG_THRESHOLD)


IS_IMPORTED = "() => document.querySelector('.jp-InputPrompt').textContent.includes('[1]')"
IS_SHOWN = "() => document.querySelector('.aeseg-inspector[data-page][data-shown]')"


def time_first_gallery(page, lab):
    "Milliseconds from running the cell to the first page; importing torch and the package is a cell before."
    page.goto(lab.address, wait_until="commit")
    run_cell(page)
    page.wait_for_function(IS_IMPORTED, timeout=180000)
    page.locator(".jp-Notebook .jp-InputArea-editor").nth(1).click()
    start = page.evaluate("() => performance.now()")
    page.keyboard.press("Control+Enter")
    page.wait_for_function(IS_SHOWN, polling=10)
    return page.evaluate("() => performance.now()") - start


def print_line(name, value, unit, target, is_met):
    print(f"{name:36} {value:8.0f} {unit}   target {target}  {'met' if is_met else 'MISSED'}")


def main(count, run):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        run = run or make_run(folder, count, size=(270, 400), canvas=64)
        lab = Lab(folder, run, imports_apart=True)
        try:
            with chromium(dict(width=1600, height=1000)) as (page, faults):
                first = time_first_gallery(page, lab)
                times, rate = measure(page, Inspected(page))
        finally:
            lab.close()
    for name, value in {"first gallery after the cell runs": first, **times}.items():
        print_line(name, value, "ms", f"below {TARGETS[name]} ms", value < TARGETS[name])
    print_line("threshold dragged", rate, "/s", "above 10 /s", rate > 10)
    if faults:
        print("the console says:", *faults, sep="\n  ")


if __name__ == "__main__":
    if CHROMIUM is None:
        sys.exit("no Chromium here; install it, for example by apt-get install chromium")
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000, Path(sys.argv[2]) if len(sys.argv) > 2 else None)
