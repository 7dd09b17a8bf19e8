// The banner that says that nothing is saved, and the ways back: by itself where the kernel answers again,
// and in the app by loading the page again as soon as its server is there.

import {make} from './dom.js'

const LOOK = 1500 // milliseconds between two looks for the server of the app

/** Whether the kernel of the app's page is 'alive' or 'ended', or its server 'gone' or 'locked'. */
async function askServer() {
  const config = JSON.parse(document.getElementById('jupyter-config-data')?.textContent ?? '{}')
  const path = `${config.baseUrl ?? '/'}api/kernels/${config.kernelId ?? ''}${window.location.search}`
  try {
    const response = await fetch(path, {cache: 'no-store'})
    if (response.ok) return 'alive'
    return [401, 403].includes(response.status) || response.redirected ? 'locked' : 'ended'
  } catch {
    return 'gone'
  }
}

const WAYS = {
  alive: 'The kernel is busy or does not answer; this goes on by itself as soon as it does.',
  gone: 'Start the server again (aeseg inspect); this page then reconnects by itself.',
  locked: 'The server was started again and wants its new address: open the one that it printed.',
  ended: 'The kernel ended; the page is loaded again.',
  notebook: 'If the kernel was restarted, run the cell again; if it is busy, this goes on by itself.',
}

/** The banner of one view. */
export class Connection {
  constructor(app) {
    this.app = app
    this.text = make('span')
    this.button = make('button', {textContent: 'Load again', onclick: () => this.reload()})
    this.element = make('div', {className: 'ai-lost', role: 'alert', hidden: true}, this.text, this.button)
  }

  /** Show whether the kernel answers; called when that changes and when a change was confirmed. */
  show() {
    const {app, element, button} = this
    const {connected} = app.kernel
    const hasChanged = element.hidden !== connected
    element.hidden = connected
    button.hidden = !app.fillsWindow
    app.root.dataset.connected = String(connected)
    app.root.dataset.unconfirmed = String(app.kernel.unconfirmed.size)
    if (!connected) this.say(app.fillsWindow ? 'gone' : 'notebook')
    if (!hasChanged || !app.state.start) return
    app.panel.show()
    if (connected) app.catchUp()
    else if (app.fillsWindow) this.look()
  }

  say(way) {
    const {size} = this.app.kernel.unconfirmed
    const waiting = size ? ` ${size} ${size === 1 ? 'decision waits' : 'decisions wait'} to be saved.` : ''
    const warning = make('b', {textContent: 'Not connected, nothing is saved.'})
    this.text.replaceChildren(warning, `${waiting} ${WAYS[way]}`)
  }

  /** Look for the server until the kernel answers; a new kernel needs a new page. */
  async look() {
    const state = await askServer()
    if (this.app.kernel.connected || this.closed) return
    this.say(state)
    if (state === 'ended') this.reload()
    else setTimeout(() => this.look(), LOOK)
  }

  reload() {
    this.app.editor.keep()
    window.location.reload()
  }

  close() {
    this.closed = true
  }
}
