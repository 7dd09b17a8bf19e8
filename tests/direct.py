"""The inspector on a page without Jupyter: each page that is loaded gets a kernel of its own in this process.

Messages travel over HTTP as Jupyter would send them, in order and with their buffers. Tests can end kernels,
stop the server, and lose replies.
"""

import contextlib
import itertools
import json
import queue
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from aeseg.app.inspector import VIEW, Inspector, join_modules

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Inspector</title>
<link rel="icon" href="data:,"><style>body {margin: 0} CSS</style></head><body><main></main>
<script id="jupyter-config-data" type="application/json">{"baseUrl": "/", "kernelId": "KERNEL"}</script>
<script type="module">
import view from '/view.js'
const listeners = new Set()
let sending = Promise.resolve()

function pack(content, buffers) {
  const bytes = buffers.map(b => new Uint8Array(b.buffer ?? b))
  const head = JSON.stringify({content, lengths: bytes.map(b => b.length)})
  return new Blob([head, '\\n', ...bytes])
}

async function send(body) {
  await fetch('/send/KERNEL', {method: 'POST', body}).catch(() => null)
}

const model = {
  get: name => ({height: HEIGHT, patience: 2})[name],
  send(content, callbacks, buffers = []) {
    const body = pack(content, buffers)
    sending = sending.then(() => send(body))
  },
  on: (name, use) => listeners.add(use),
  off: (name, use) => listeners.delete(use),
}

async function receive() {
  for (;;) {
    const response = await fetch('/receive/KERNEL').catch(() => null)
    if (!response?.ok) {
      await new Promise(done => setTimeout(done, 100))
      continue
    }
    const data = await response.arrayBuffer()
    const size = new DataView(data).getUint32(0)
    const {content, lengths} = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, size)))
    let start = 4 + size
    const buffers = lengths.map(length => new DataView(data.slice(start, (start += length))))
    if (content) for (const use of listeners) use(content, buffers)
  }
}

receive()
view.render({model, el: document.querySelector('main')})
</script></body></html>"""


class Kernel(Inspector):
    "An inspector whose replies are kept until its page takes them."

    def __init__(self, *arguments, **options):
        self.replies, self.lose = queue.Queue(), set()  # lose: names of replies
        self.deaf = False  # whether requests are lost
        super().__init__(*arguments, **options)

    def send(self, content, buffers=None):
        if content["reply"] not in self.lose:
            self.replies.put((content, list(buffers or [])))


class Direct:
    "A server of pages. `kernels` are the living ones by name."

    def __init__(self, run, height=0, **options):
        self.run, self.height, self.options = run, height, options
        self.names, self.kernels, self.requests = itertools.count(1), {}, []
        self.script = join_modules(VIEW / "index.js")
        self.style = (VIEW / "inspector.css").read_text()
        self.port = 0
        self.start()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}/"

    def start(self):
        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), handler(self))
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(
            target=self.server.serve_forever, kwargs=dict(poll_interval=0.02), daemon=True
        ).start()

    def stop(self):
        "End the server and its kernels, as Ctrl-C does."
        self.kernels.clear()
        self.server.shutdown()
        self.server.server_close()

    def page(self):
        name = f"k{next(self.names)}"
        self.kernels[name] = Kernel(self.run, **self.options)
        page = PAGE.replace("CSS", self.style).replace("HEIGHT", str(self.height))
        return page.replace("KERNEL", name)

    def take(self, name, body):
        "Hand a page's message to its kernel."
        head, _, rest = body.partition(b"\n")
        head = json.loads(head)
        buffers, start = [], 0
        for length in head["lengths"]:
            buffers.append(rest[start : start + length])
            start += length
        self.requests.append((name, head["content"]))
        if not self.kernels[name].deaf:
            self.kernels[name]._handle(None, head["content"], buffers)

    def reply(self, name):
        "The next reply of a kernel, empty where there is none."
        try:
            content, buffers = self.kernels[name].replies.get(timeout=0.5)
        except (queue.Empty, KeyError):
            content, buffers = None, []
        head = json.dumps(dict(content=content, lengths=[len(b) for b in buffers])).encode()
        return struct.pack(">I", len(head)) + head + b"".join(buffers)


def handler(direct):
    "The class that answers HTTP requests."

    class Handler(BaseHTTPRequestHandler):
        def answer(self, body=b"", kind="text/plain", code=200):
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            with contextlib.suppress(ConnectionError):  # of a page that was left
                self.end_headers()
                self.wfile.write(body)

        def do_GET(self):
            name = self.path.rsplit("/", 1)[-1]
            if self.path == "/":
                self.answer(direct.page().encode(), "text/html")
            elif self.path == "/view.js":
                self.answer(direct.script.encode(), "text/javascript")
            elif name not in direct.kernels:
                self.answer(code=404)
            elif self.path.startswith("/receive/"):
                self.answer(direct.reply(name))
            else:
                self.answer()

        def do_POST(self):
            name = self.path.rsplit("/", 1)[-1]
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if name in direct.kernels:
                direct.take(name, body)
            self.answer(code=200 if name in direct.kernels else 404)

        def log_message(self, *_):
            pass

    return Handler
