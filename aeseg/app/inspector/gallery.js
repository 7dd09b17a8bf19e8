// The gallery: pages of labels, sorted and filtered.

import {make} from './dom.js'
import {casesOfPage} from './state.js'

const TILE = 132 // CSS pixels, the width that a tile should have
const GAP = 10 // CSS pixels between tiles, as in inspector.css
const CAPTION = 18 // CSS pixels, the height of a caption, as in inspector.css

function makeOptions(entries) {
  return entries.map(([value, textContent]) => make('option', {value, textContent}))
}

function makeChoice(title, use) {
  return make('select', {title, 'aria-label': title, onchange: event => use(event.target.value)})
}

/** The tab with the gallery. */
export class Gallery {
  constructor(app) {
    this.app = app
    this.state = app.state
    this.sort = makeChoice('Order', sort => this.reorder({sort}))
    this.filter = makeChoice('Filter', filter => this.reorder({filter}))
    this.direction = make('button', {title: 'Worst first, or best first', onclick: () => this.turn()})
    this.previous = make('button', {
      textContent: '‹',
      title: 'Previous page',
      'aria-label': 'Previous page',
      onclick: () => this.turnPage(-1),
    })
    this.next = make('button', {
      textContent: '›',
      title: 'Next page',
      'aria-label': 'Next page',
      onclick: () => this.turnPage(1),
    })
    this.position = make('span', {className: 'ai-quiet'})
    this.grid = make('div', {className: 'ai-grid ai-gallery'})
    this.elements = [this.makeBar(), this.grid]
  }

  makeBar() {
    const {sort, direction, filter, position, previous, next} = this
    const space = make('span', {className: 'ai-push'})
    return make('div', {className: 'ai-bar'}, sort, direction, filter, space, position, previous, next)
  }

  /** Request the cases in another order. */
  reorder(changes) {
    Object.assign(this.state, changes)
    const {sort, filter, worstFirst} = this.state
    this.direction.textContent = worstFirst ? 'worst first' : 'best first'
    this.app.kernel.request('order', {sort, show: filter, worst_first: worstFirst})
  }

  turn() {
    this.reorder({worstFirst: !this.state.worstFirst})
  }

  /** Show the orders and filters that the run has. */
  begin({sorts, filters}) {
    this.sort.replaceChildren(...makeOptions(sorts))
    this.sort.value = this.state.sort
    this.filter.replaceChildren(...makeOptions(filters.map(name => [name, name])))
    this.direction.textContent = 'worst first'
  }

  /** Show cases in the order that the kernel sent, from the first page. */
  setOrder(order) {
    const {state, app} = this
    state.order = order
    state.page = 0
    delete app.root.dataset.page
    if (state.tab === 'gallery') this.draw()
    app.root.dataset.order = `${state.sort}/${state.filter}/${order.length}`
  }

  /** Fit columns and rows of tiles into the grid. */
  measure() {
    const {state, grid} = this
    const [height, width] = state.start.tile
    state.columns = Math.max(2, Math.round(grid.clientWidth / TILE))
    const tileWidth = (grid.clientWidth - GAP * (state.columns - 1)) / state.columns
    const tileHeight = (tileWidth * height) / width + CAPTION
    const rows = Math.max(1, Math.floor((grid.clientHeight + GAP) / (tileHeight + GAP)))
    state.pageSize = state.columns * rows
    grid.style.gridTemplateColumns = `repeat(${state.columns},minmax(0,1fr))`
  }

  draw() {
    const {state, app} = this
    if (!state.start || state.tab !== 'gallery') return
    this.measure()
    const pages = Math.max(1, Math.ceil(state.order.length / state.pageSize))
    state.page = Math.min(Math.max(0, state.page), pages - 1)
    const cases = casesOfPage(state)
    app.thumbnails.want(cases, state.start.last)
    const empty = make('div', {className: 'ai-empty', textContent: 'No case here'})
    this.grid.replaceChildren(...(cases.length ? cases.map(k => app.thumbnails.makeTile(k)) : [empty]))
    this.position.textContent = `${state.order.length} cases · ${state.page + 1} / ${pages}`
    this.previous.disabled = !state.page
    this.next.disabled = state.page === pages - 1
    if (cases.length) this.publish(cases)
  }

  show() {
    this.draw()
  }

  /** Turn to the page of a case. */
  turnTo(k) {
    const position = this.state.order.indexOf(k)
    if (position >= 0) this.turnPage(Math.floor(position / this.state.pageSize) - this.state.page)
  }

  turnPage(pages) {
    this.state.page += pages
    delete this.app.root.dataset.page
    this.draw()
  }

  /** Draw tiles whose thumbnails came. */
  update(cases) {
    this.app.thumbnails.refresh(cases)
    if (this.state.tab === 'gallery') this.publish(casesOfPage(this.state))
  }

  /** Tell tests and the benchmark which page is complete. */
  publish(cases) {
    const {state, app} = this
    if (app.thumbnails.areLoaded(cases, state.start.last)) app.root.dataset.page = String(state.page)
  }
}
