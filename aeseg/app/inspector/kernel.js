// The connection to the kernel. Requests are {request: NAME, …}, replies {reply: NAME, …} with buffers.

const POLL = 4000 // milliseconds between two requests for what another inspector decided
const LEAVING = 2000 // milliseconds after which a page that was being left is taken for one that stayed

/** The kernel of an anywidget model. */
export class Kernel {
  constructor(model) {
    this.model = model
    this.leaving = false // the kernel of a page that is being left may be gone
  }

  /** Send a request. */
  request(name, values = {}) {
    if (!this.leaving) this.model.send({request: name, ...values})
  }

  /** Call the handler of each reply with its values and buffers; poll for changes while `isReady` is true. */
  listen(handlers, isReady) {
    this.handle = (message, buffers) => handlers[message.reply]?.(message, buffers ?? [])
    this.leave = () => this.pause()
    this.model.on('msg:custom', this.handle)
    window.addEventListener('beforeunload', this.leave)
    this.timer = setInterval(() => {
      if (isReady() && document.visibilityState === 'visible') this.request('refresh')
    }, POLL)
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
