// The right side: the open case, its layers, its numbers and the decisions about it.

import {formatNumber, make} from './dom.js'
import {MEANINGS} from './words.js'

function makeNumber([name, value]) {
  const title = MEANINGS[name] ?? ''
  const textContent = typeof value === 'number' ? formatNumber(value) : (value ?? '–')
  return make('span', {title}, name, make('b', {textContent}))
}

/** The panel of one view. */
export class Panel {
  constructor(app) {
    const {canvas, layers, controls, decisions} = app
    this.app = app
    this.state = app.state
    this.name = make('div', {className: 'ai-name'})
    this.verdict = make('div', {className: 'ai-verdict', hidden: true})
    this.numbers = make('div', {className: 'ai-numbers'})
    canvas.stage.append(this.name, this.verdict, app.editor.ring, canvas.makeButtons(), app.notices.toast)
    const parts = [
      canvas.stage,
      app.strip.element,
      layers.element,
      layers.legend,
      controls.element,
      this.numbers,
      ...decisions.elements,
    ]
    this.element = make('div', {className: 'ai-right'}, ...parts)
  }

  /** Open a case; request it and its neighbours. */
  open(k) {
    if (k === undefined || k === null) return
    const {app, state} = this
    const before = state.open
    if (k !== before && !app.editor.leave()) return
    state.open = k
    state.proposal = null
    if (k !== before) app.cases.dropPicture(before)
    app.root.dataset.open = String(k)
    app.cases.want(k)
    app.thumbnails.refresh([before, k])
    app.canvas.draw()
    this.show()
    if (state.tab === 'overview') app.scatter.draw()
    app.cases.wantNeighbours(k)
    app.cases.wantHeatMapsSoon()
    app.place.keep()
  }

  /** Open the case some steps further in the order, and turn the page where it lies on another. */
  move(steps) {
    const {app, state} = this
    if (!state.order.length) return
    const position = state.order.indexOf(state.open)
    const target = position < 0 ? 0 : position + steps
    const next = Math.min(Math.max(0, target), state.order.length - 1)
    const page = Math.floor(next / state.pageSize)
    this.open(state.order[next])
    if (page !== state.page && state.tab === 'gallery' && state.open === state.order[next]) {
      state.page = page
      app.gallery.draw()
    }
  }

  /** Show name, decision, numbers and layers of the open case. */
  show() {
    const {app, state} = this
    const decision = state.rows[state.open]?.decision
    this.name.textContent = state.open === null ? '' : state.start.ids[state.open]
    this.verdict.hidden = !decision
    this.verdict.textContent = decision ?? ''
    this.verdict.className = 'ai-verdict' + (decision ? ` ai-${decision}` : '')
    this.numbers.replaceChildren(...(app.cases.opened?.numbers ?? []).map(makeNumber))
    app.root.dataset.numbers = app.cases.opened ? String(state.open) : ''
    app.decisions.show()
    app.layers.draw()
    app.strip.draw()
  }
}
