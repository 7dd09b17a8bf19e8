// The connection to the kernel. Requests are {request: NAME, …}, replies {reply: NAME, …} with buffers. A
// heartbeat notices a kernel that is gone. Changes are numbered and kept until the kernel confirms them, and
// after a lost connection they are sent again; the kernel makes each once.

import {Unconfirmed} from './unconfirmed.js'

const BEAT = 2000 // milliseconds between two heartbeats, which also bring what another inspector decided
const TICK = 400 // milliseconds between two looks at the clock
const LEAVING = 2000 // milliseconds after which a page that was being left is taken for one that stayed

/** The kernel of an anywidget model. */
export class Kernel {
  constructor(model) {
    this.model = model
    this.patience = 1000 * model.get('patience') // milliseconds without any reply: the connection is lost
    this.leaving = false // the kernel of a page that is being left may be gone
    this.connected = true
    this.waiting = null // when the oldest request was sent since which no reply came
    this.beaten = 0 // when the last heartbeat was sent
    this.unconfirmed = new Unconfirmed()
  }

  /** Send a request. */
  request(name, values = {}, buffers = []) {
    if (this.leaving) return
    this.waiting ??= performance.now()
    try {
      this.model.send({request: name, ...values}, undefined, buffers)
    } catch {
      this.disconnect() // the channel is closed
    }
  }

  /** Send a change of decisions; false where there is no connection, so that nothing could be saved. */
  change(name, values = {}, buffers = []) {
    if (!this.connected) return false
    const change = this.unconfirmed.add(name, values, buffers)
    this.send(change)
    return true
  }

  /** Keep a change for the next page, as this one is being left; send it where that is still possible. */
  keep(name, values, buffers) {
    const change = this.unconfirmed.add(name, values, buffers)
    if (this.connected) this.send(change)
  }

  send({number, name, values, buffers}, again = false) {
    this.request(name, {...values, number, again}, buffers)
  }

  /** Forget a change that the kernel confirmed. */
  confirm(number) {
    this.unconfirmed.delete(number)
    this.report()
  }

  /** Send changes again that were not confirmed, those of an earlier page of this run, too. */
  sendAgain(run) {
    this.unconfirmed.adopt(run)
    for (const change of this.unconfirmed.list()) this.send(change, true)
    this.report()
  }

  /** Call the handler of each reply with its values and buffers, and `report` when the connection changes. */
  listen(handlers, report) {
    this.handle = (message, buffers) => {
      this.hear()
      handlers[message.reply]?.(message, buffers ?? [])
    }
    this.report = report
    this.leave = () => this.pause()
    this.model.on('msg:custom', this.handle)
    window.addEventListener('beforeunload', this.leave)
    this.timer = setInterval(() => this.tick(), TICK)
  }

  hear() {
    this.waiting = null
    if (this.connected) return
    this.connected = true
    this.report()
  }

  tick() {
    const now = performance.now()
    if (this.waiting !== null && now - this.waiting > this.patience) this.disconnect()
    if (document.visibilityState !== 'visible' || now - this.beaten < BEAT) return
    this.beaten = now
    this.request('refresh')
  }

  disconnect() {
    if (!this.connected || this.leaving) return
    this.connected = false
    this.report()
  }

  /** Send nothing for a while. */
  pause() {
    this.leaving = true
    setTimeout(() => (this.leaving = false), LEAVING)
  }

  close() {
    window.removeEventListener('beforeunload', this.leave)
    this.model.off('msg:custom', this.handle)
    clearInterval(this.timer)
  }
}
