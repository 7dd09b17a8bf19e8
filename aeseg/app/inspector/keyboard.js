// The keyboard: one key for each frequent act.

/** What each key does. */
function makeActions({state, panel, decisions, header}) {
  return {
    ArrowRight: () => panel.move(1),
    ArrowLeft: () => panel.move(-1),
    ArrowDown: () => panel.move(state.columns),
    ArrowUp: () => panel.move(-state.columns),
    PageDown: () => panel.move(state.pageSize),
    PageUp: () => panel.move(-state.pageSize),
    a: () => decisions.decide('accepted'),
    r: () => decisions.decide('rejected'),
    u: () => decisions.undo(),
    e: () => decisions.propose('ellipse'),
    Enter: () => decisions.apply(),
    Escape() {
      header.hideCommand()
      decisions.cancel()
    },
  }
}

/** Whether a key belongs to the field that has the focus: text, a list of choices, a slider's arrows. */
function belongsToField({target, key, altKey}) {
  if (altKey || ['TEXTAREA', 'SELECT'].includes(target.tagName)) return true
  if (target.tagName !== 'INPUT') return false
  return target.type !== 'range' || key.startsWith('Arrow') || key.startsWith('Page')
}

/** The keyboard of one view. */
export class Keyboard {
  constructor(app) {
    this.app = app
    this.actions = makeActions(app)
    this.suppress = event => this.suppressShortcuts(event)
    app.root.addEventListener('keydown', event => this.handle(event))
    window.addEventListener('keydown', this.suppress, true) // on the window, it comes before JupyterLab's
  }

  /** Switch JupyterLab's own keys, such as a and b, off inside the inspector; those with Ctrl stay. */
  suppressShortcuts(event) {
    this.app.root.toggleAttribute('data-lm-suppress-shortcuts', !(event.ctrlKey || event.metaKey))
  }

  handle(event) {
    if (event.ctrlKey || event.metaKey) return
    if (belongsToField(event)) this.leaveField(event)
    else this.act(event)
  }

  /** Leave a key to its field; Enter ends a note. */
  leaveField(event) {
    event.stopPropagation()
    if (event.key === 'Enter' && event.target.type === 'text') this.app.root.focus()
  }

  act(event) {
    const layer = /^[1-7]$/.test(event.key) ? Number(event.key) - 1 : null
    const action = layer === null ? this.actions[event.key] : () => this.app.layers.toggle(layer)
    const pressesButton = event.key === 'Enter' && event.target.tagName === 'BUTTON'
    if (!this.app.state.start || !action || pressesButton) return
    event.preventDefault()
    event.stopPropagation()
    action()
  }

  close() {
    window.removeEventListener('keydown', this.suppress, true)
  }
}
