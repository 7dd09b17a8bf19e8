// Decisions about the open case: accept, reject, correct, undo, and a note.

import {make} from './dom.js'

const CORRECTIONS = [
  ['ellipse', 'Ellipse (e)'],
  ['largest_component', 'Largest part'],
  ['fill_holes', 'Fill holes'],
  ['smooth', 'Smooth the outline'],
]

function makeChoices(entries) {
  return entries.map(([value, textContent]) => make('option', {value, textContent}))
}

/** A list whose entries are acts; it shows its title again after each. */
function makeMenu(textContent, title, use) {
  const onchange = event => {
    use(event.target.value)
    event.target.selectedIndex = 0
  }
  const head = make('option', {value: '', textContent, disabled: true, selected: true})
  return make('select', {title, 'aria-label': title, className: 'ai-menu', onchange}, head)
}

function makeKeyButton(text, key, className, onclick) {
  const hint = make('kbd', {textContent: key, 'aria-hidden': true})
  return make('button', {className, onclick, 'aria-keyshortcuts': key}, text, hint)
}

/** The buttons of one view. */
export class Decisions {
  constructor(app) {
    this.app = app
    this.state = app.state
    this.accept = makeKeyButton('Accept', 'a', 'yes', () => this.decide('accepted'))
    this.reject = makeKeyButton('Reject', 'r', 'no', () => this.decide('rejected'))
    this.back = makeKeyButton('Undo', 'u', '', () => this.undo())
    this.paint = makeKeyButton('Paint', 'b', '', () => app.editor.use('brush'))
    this.reshape = makeMenu('Reshape…', 'Replace the label by a simpler shape', how => this.propose(how))
    this.reshape.append(...makeChoices(CORRECTIONS))
    this.take = makeMenu('Take…', 'Take another mask as the label', how => this.propose(how))
    this.corrections = [this.paint, this.reshape, this.take]
    this.note = make('input', {
      type: 'text',
      placeholder: 'Note',
      'aria-label': 'Note',
      onfocus: () => (this.noted = this.state.open),
      onchange: () => this.saveNote(),
      onblur: () => this.leaveNote(),
    })
    this.applyButton = make('button', {
      className: 'primary',
      textContent: 'Apply',
      onclick: () => this.apply(),
    })
    this.cancelButton = make('button', {textContent: 'Cancel', onclick: () => this.cancel()})
    this.applyButton.hidden = this.cancelButton.hidden = true
    this.elements = this.makeBars()
  }

  makeBars() {
    const {app, accept, reject, back, corrections, note, applyButton, cancelButton} = this
    const parts = [...corrections, note, app.editor.bar, applyButton, cancelButton]
    return [
      make('div', {className: 'ai-act'}, accept, reject, back),
      make('div', {className: 'ai-fix'}, ...parts),
    ]
  }

  get canDecide() {
    return this.state.open !== null && this.state.start.writable && this.app.kernel.connected
  }

  /** Whether a decision can be sent; says so where the kernel is gone. */
  checkSending() {
    if (!this.app.kernel.connected) this.app.notices.say('Not connected: this was not saved.')
    return this.canDecide
  }

  /** Decide about the open case; the same decision again takes it back. */
  decide(decision) {
    if (!this.checkSending()) return
    if (this.app.chosen.cases.size) {
      this.app.chosen.decide(decision)
      return
    }
    const k = this.state.open
    const before = this.app.kernel.unconfirmed.decisionOf(k) ?? this.state.rows[k]?.decision
    const isBack = before === decision
    const base = this.baseOf([k])
    if (!this.app.editor.leave()) return
    const isSent = this.change('decide', {k, decision: isBack ? '' : decision, base})
    if (isSent && !isBack && this.state.advance) this.app.panel.move(1)
  }

  /** Decide about many cases in one step; those that are decided so already stay as they are. */
  decideMany(cases, decision) {
    const numbers = cases.filter(k => (this.state.rows[k]?.decision ?? '') !== decision)
    if (!numbers.length || !this.checkSending()) return false
    const isSent = this.change('decide_many', {numbers, decision, base: this.baseOf(numbers)})
    const words = decision || 'undecided again'
    if (isSent) this.app.notices.say(`${numbers.length} labels are ${words}; u takes that back.`)
    return isSent
  }

  undo() {
    this.change('undo')
  }

  /** Keep a note with the case at which its field got the focus, which may not be the open one any more. */
  saveNote() {
    const k = this.noted ?? this.state.open
    if (k !== null) this.change('comment', {k, note: this.note.value})
  }

  /** What the page knows about cases, so that a decision that is sent again overwrites no later one. */
  baseOf(cases) {
    const {unconfirmed} = this.app.kernel
    const settled = cases.filter(k => unconfirmed.decisionOf(k) === undefined)
    return Object.fromEntries(settled.map(k => [k, this.state.rows[k]?.time ?? '']))
  }

  /** Send a change; without a connection nothing is changed, and the banner says so. */
  change(name, values, buffers) {
    const {kernel, notices} = this.app
    const isSent = kernel.change(name, values, buffers)
    if (!isSent) notices.say('Not connected: this was not saved.')
    return isSent
  }

  /** Show the masks that can be taken: the prediction, and labels of earlier rounds. */
  begin({rounds, last, predictions}) {
    const earlier = rounds.filter(round => round !== last)
    const masks = earlier.map(round => [`round_${round}`, `the label of ${round ? `round ${round}` : 'E'}`])
    if (predictions) masks.unshift(['prediction', 'the prediction (p)'])
    while (this.take.length > 1) this.take.remove(1)
    this.take.append(...makeChoices(masks))
  }

  /** Request what a correction would do; what was painted before is saved first. */
  propose(how) {
    if (this.canDecide && this.app.editor.leave())
      this.app.kernel.request('propose', {k: this.state.open, how})
  }

  /** Replace the label by the proposed one. */
  apply() {
    if (this.app.editor.active) this.app.editor.confirm()
    if (!this.state.proposal) return
    const {k, how, ellipse = null} = this.state.proposal
    if (!this.change('correct', {k, how, ellipse, base: this.baseOf([k])})) return
    this.state.proposal = null
    this.app.panel.show()
  }

  cancel() {
    if (this.app.editor.active) this.app.editor.cancel()
    this.state.proposal = null
    this.app.canvas.draw()
    this.app.panel.show()
  }

  leaveNote() {
    this.noted = null
    this.show()
  }

  /** Show what was decided about the open case, and what can be done. */
  show() {
    const {accept, reject, back, corrections, note} = this
    const row = this.state.rows[this.state.open]
    accept.classList.toggle('on', row?.decision === 'accepted')
    reject.classList.toggle('on', row?.decision === 'rejected')
    if (document.activeElement !== note) note.value = row?.note ?? ''
    for (const control of [accept, reject, back, note, ...corrections]) control.disabled = !this.canDecide
    const correcting = Boolean(this.state.proposal) || this.app.editor.active
    this.applyButton.hidden = this.cancelButton.hidden = !correcting
    for (const control of [note, ...corrections]) control.hidden = correcting
  }
}
