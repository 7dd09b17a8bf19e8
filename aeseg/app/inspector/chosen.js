// Cases that were chosen together, by Shift and a click or by a lasso, and what is done with all of them.

import {make} from './dom.js'

/** The chosen cases of one view. */
export class Chosen {
  constructor(app) {
    this.app = app
    this.cases = new Set()
    this.text = make('b')
    const acts = [
      ['Accept all', () => this.decide('accepted')],
      ['Reject all', () => this.decide('rejected')],
      ['Take back', () => this.decide('')],
      ['Choose none', () => this.clear()],
    ]
    const buttons = acts.map(([textContent, onclick]) => make('button', {textContent, onclick}))
    this.element = make('div', {className: 'ai-chosen', hidden: true}, this.text, ...buttons)
  }

  has(k) {
    return this.cases.has(k)
  }

  /** Add a case, or take it out again. */
  toggle(k) {
    if (!this.cases.delete(k)) this.cases.add(k)
    this.show([k])
  }

  /** Add many cases. */
  add(cases) {
    for (const k of cases) this.cases.add(k)
    this.show(cases)
  }

  clear() {
    const before = [...this.cases]
    this.cases.clear()
    this.show(before)
  }

  /** Decide about all of them in one step, which one undo takes back. */
  decide(decision) {
    if (this.app.decisions.decideMany([...this.cases], decision)) this.clear()
  }

  /** Draw what changed. */
  show(changed) {
    const {app, cases} = this
    this.element.hidden = !cases.size
    this.text.textContent = `${cases.size} chosen`
    app.root.dataset.chosen = String(cases.size)
    app.thumbnails.refresh(changed)
    if (app.state.tab === 'overview') app.scatter.draw()
  }
}
