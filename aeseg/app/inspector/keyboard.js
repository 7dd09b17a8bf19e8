// The keyboard: one key for each frequent act. Keys work wherever the focus is, but in fields of text.

import {TOOLS} from './editor.js'

const TEXT = ['text', 'search', 'number']

/** What each key does. */
function makeActions({state, panel, decisions, editor, header, help, gallery, chosen}) {
  const tools = Object.entries(TOOLS).map(([key, {name}]) => [key, () => editor.use(name)])
  return {
    ...Object.fromEntries(tools),
    '[': () => editor.grow(-1),
    ']': () => editor.grow(1),
    ArrowRight: () => panel.move(1),
    ArrowLeft: () => panel.move(-1),
    ArrowDown: () => panel.move(state.columns),
    ArrowUp: () => panel.move(-state.columns),
    PageDown: () => panel.move(state.pageSize),
    PageUp: () => panel.move(-state.pageSize),
    a: () => decisions.decide('accepted'),
    r: () => decisions.decide('rejected'),
    u: () => (editor.active ? editor.undo() : decisions.undo()),
    e: () => decisions.propose('ellipse'),
    p: () => decisions.propose('prediction'),
    Enter: () => decisions.apply(),
    '?': () => help.toggle(),
    '/': () => gallery.search.isConnected && gallery.search.focus(),
    Escape() {
      header.hideCommand()
      help.hide()
      chosen.clear()
      decisions.cancel()
    },
    Backspace: () => editor.active && editor.undo(),
  }
}

/** The keyboard of one view. */
export class Keyboard {
  constructor(app) {
    this.app = app
    this.actions = makeActions(app)
    this.isInside = app.fillsWindow // whether the user was last inside this view
    this.openSelect = null // a list of choices that is open, whose arrows are its own
    this.listeners = {
      keydown: event => this.handle(event),
      pointerdown: event => this.notePlace(event),
      focusin: event => this.notePlace(event),
      click: event => this.returnFocus(event),
      change: event => this.returnFocus(event),
    }
    // on the window, they come before JupyterLab's, and keys arrive where nothing has the focus, too
    for (const [name, use] of Object.entries(this.listeners)) window.addEventListener(name, use, true)
  }

  notePlace({type, target}) {
    this.isInside = this.app.fillsWindow || this.app.root.contains(target)
    if (type === 'pointerdown') this.openSelect = target.tagName === 'SELECT' ? target : null
  }

  /** After the mouse pressed a button, moved a slider or chose from a list, keys belong to the view again. */
  returnFocus({type, target, detail}) {
    const {root} = this.app
    const control = root.contains(target) && target.closest('button, select, input, summary')
    if (!control || TEXT.includes(control.type)) return
    const isMouse = type === 'click' && detail > 0 && control.tagName !== 'SELECT'
    if (isMouse || control === this.openSelect) root.focus({preventScroll: true})
    if (type === 'change') this.openSelect = null
  }

  /** Whether a key is meant for this view: inside it, or where nothing has the focus any more. */
  concerns({target}) {
    return this.app.root.contains(target) || (this.isInside && [document.body, document].includes(target))
  }

  /** Whether a key belongs to what has the focus: text, an open list, a slider's arrows, a button's Enter. */
  belongsToField({target, key, altKey}) {
    const {tagName, type} = target
    if (altKey || tagName === 'TEXTAREA' || (tagName === 'INPUT' && TEXT.includes(type))) return true
    if (tagName === 'SELECT') return this.belongsToSelect(target, key)
    if (type === 'range') return /^(Arrow|Page|Home|End)/.test(key)
    return target !== this.app.root && (key === ' ' || key === 'Enter') && target.tabIndex >= 0
  }

  /** A closed list opens by Enter or space; while it is open, all keys are its own. */
  belongsToSelect(select, key) {
    if (this.openSelect === select) {
      if (['Escape', 'Enter', 'Tab'].includes(key)) this.openSelect = null
      return true
    }
    if (key === ' ' || key === 'Enter') this.openSelect = select
    return this.openSelect === select
  }

  handle(event) {
    const {root} = this.app
    // JupyterLab's own keys, such as a and b, are switched off inside the inspector; those with Ctrl stay
    root.toggleAttribute('data-lm-suppress-shortcuts', !(event.ctrlKey || event.metaKey))
    if (event.ctrlKey || event.metaKey || !this.concerns(event)) return
    if (this.belongsToField(event)) this.leaveField(event)
    else this.act(event)
  }

  /** Leave a key to its field; Enter ends a note. */
  leaveField(event) {
    const isLeft = event.key === 'Escape' || (event.key === 'Enter' && event.target.type === 'text')
    if (isLeft && TEXT.includes(event.target.type)) this.app.root.focus()
  }

  act(event) {
    const {app} = this
    const layer = /^[1-7]$/.test(event.key) ? Number(event.key) - 1 : null
    const action = layer === null ? this.actions[event.key] : () => app.layers.toggle(layer)
    if (!app.state.start || !action) return
    event.preventDefault()
    event.stopPropagation()
    action()
  }

  close() {
    for (const [name, use] of Object.entries(this.listeners)) window.removeEventListener(name, use, true)
  }
}
