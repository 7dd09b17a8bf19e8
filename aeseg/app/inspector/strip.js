// A row of small pictures below the open case: its label after each step, and its neighbours in a volume.

import {make} from './dom.js'
import {FINAL, nameOfRound} from './state.js'

/** The strip of one view. */
export class Strip {
  constructor(app) {
    this.app = app
    this.element = make('div', {className: 'ai-strip'})
  }

  /** The rounds whose labels are shown, with the final mask. */
  rounds() {
    const {rounds, predictions} = this.app.state.start
    return predictions ? [...rounds, FINAL] : rounds
  }

  draw() {
    const {start, open} = this.app.state
    if (!start || open === null) return
    const beside = start.neighbours[open] ?? []
    const steps = this.rounds()
    const shown = `${open}/${steps.length}/${this.app.state.round}`
    if (this.element.dataset.strip === shown) return
    this.element.dataset.strip = shown
    this.element.replaceChildren(...steps.map(round => this.makeStep(open, round)))
    if (beside.length) this.element.append(make('span', {className: 'ai-gap'}))
    this.element.append(...beside.map(k => this.makeSlice(k, open)))
    clearTimeout(this.timer)
    this.timer = setTimeout(() => this.want(open, steps, beside), 120) // not while cases are leafed through
  }

  want(open, steps, beside) {
    if (open !== this.app.state.open) return
    for (const round of steps) this.app.thumbnails.want([open], round)
    this.app.thumbnails.want(beside, this.app.state.start.last)
  }

  /** The label after a step; a click draws that round's label on the image. */
  makeStep(k, round) {
    const text = nameOfRound(round, this.app.state.start.rounds)
    const use = () => (round === FINAL ? this.app.layers.toggle(2) : this.app.controls.show(round))
    return this.makeEntry(k, round, text, `the label after this step: ${text}`, use)
  }

  makeSlice(k, open) {
    const {ids, last} = this.app.state.start
    const text = ids[k].match(/\d+$/)?.[0] ?? ids[k]
    const side = ids[k] < ids[open] ? 'before' : 'after'
    return this.makeEntry(k, last, text, `the slice ${side} this one: ${ids[k]}`, () =>
      this.app.panel.open(k),
    )
  }

  makeEntry(k, round, text, title, onclick) {
    const frame = this.app.thumbnails.makeFrame(k, round)
    const entry = make(
      'button',
      {title, 'aria-label': title, onclick},
      frame,
      make('span', {textContent: text}),
    )
    const isShown = k === this.app.state.open && round === this.app.state.round
    entry.classList.toggle('on', isShown)
    Object.assign(entry.dataset, {k, round})
    return entry
  }

  /** Draw pictures that came. */
  update(cases, round) {
    for (const entry of this.element.children) {
      if (!cases.includes(Number(entry.dataset.k)) || Number(entry.dataset.round) !== round) continue
      entry.firstChild.replaceWith(this.app.thumbnails.makeFrame(Number(entry.dataset.k), round))
    }
  }

  /** Draw the strip anew, after a label changed. */
  forget() {
    delete this.element.dataset.strip
    this.draw()
  }
}
