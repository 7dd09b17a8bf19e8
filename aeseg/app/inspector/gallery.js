// The gallery: pages of labels, sorted, filtered and searched.

import {make} from './dom.js'
import {casesOfPage} from './state.js'
import {allTags, makeTable, saveFile, tagsOf} from './table.js'

const TILE = 132 // CSS pixels, the width that a tile should have
const GAP = 10 // CSS pixels between tiles, as in inspector.css
const CAPTION = 18 // CSS pixels, the height of a caption, as in inspector.css

function makeOptions(entries) {
  return entries.map(([value, textContent]) => make('option', {value, textContent}))
}

function makeChoice(title, use) {
  return make('select', {title, 'aria-label': title, onchange: event => use(event.target.value)})
}

function makeButton(textContent, title, onclick) {
  return make('button', {textContent, title, 'aria-label': title, onclick})
}

/** The tab with the gallery. */
export class Gallery {
  constructor(app) {
    this.app = app
    this.state = app.state
    this.sort = makeChoice('Order', sort => this.reorder({sort}))
    this.filter = makeChoice('Filter', filter => this.refilter(filter))
    this.direction = make('button', {title: 'Worst first, or best first', onclick: () => this.turn()})
    this.search = make('input', {type: 'search', placeholder: 'id  /', 'aria-label': 'Search for an id'})
    this.search.addEventListener('input', () => this.find(this.search.value))
    this.search.addEventListener('keydown', event => event.key === 'Enter' && this.openFound())
    this.previous = makeButton('‹', 'Previous page', () => this.turnPage(-1))
    this.next = makeButton('›', 'Next page', () => this.turnPage(1))
    this.page = make('input', {type: 'number', min: 1, 'aria-label': 'Page', onchange: () => this.jump()})
    this.position = make('span', {className: 'ai-quiet'})
    this.pages = make('span', {className: 'ai-quiet'})
    this.save = makeButton('CSV', 'CSV: save this list as a table', () => this.saveTable())
    this.grid = make('div', {className: 'ai-grid ai-gallery'})
    this.all = [] // cases in the kernel's order, of which search and tag leave some
    this.elements = [this.makeBar(), this.grid, app.chosen.element]
  }

  makeBar() {
    const {sort, direction, filter, search, position, previous, page, pages, next, save} = this
    const space = make('span', {className: 'ai-push'})
    const turning = make('span', {className: 'ai-turning'}, previous, page, pages, next)
    return make('div', {className: 'ai-bar'}, sort, direction, filter, search, space, position, turning, save)
  }

  /** Request the cases in another order. */
  reorder(changes) {
    Object.assign(this.state, changes)
    const {sort, filter, worstFirst} = this.state
    this.direction.textContent = worstFirst ? 'worst first' : 'best first'
    this.app.kernel.request('order', {sort, show: filter, worst_first: worstFirst})
    this.app.place.keep()
  }

  /** Filter by a decision or the selection, or by a tag (#name). */
  refilter(filter) {
    const isTag = filter.startsWith('#')
    this.state.tag = isTag ? filter.slice(1) : null
    this.reorder({filter: isTag ? 'all' : filter})
  }

  turn() {
    this.reorder({worstFirst: !this.state.worstFirst})
  }

  /** Show the orders and filters that the run has; a page that is loaded again returns to its own. */
  begin({sorts, filters, sort}) {
    const {sort: earlier, filter, worstFirst} = this.app.place.read()
    const isKnown = sorts.some(([name]) => name === earlier) && filters.includes(filter)
    this.sort.replaceChildren(...makeOptions(sorts))
    this.filters = filters
    this.showTags()
    this.state.sort = sort
    if (isKnown) Object.assign(this.state, {sort: earlier, filter, worstFirst})
    this.sort.value = this.state.sort
    this.filter.value = this.state.filter
    this.direction.textContent = this.state.worstFirst ? 'worst first' : 'best first'
    this.returning = isKnown && (this.state.sort !== sort || filter !== 'all' || !worstFirst)
  }

  /** Offer the tags that notes hold. */
  showTags() {
    const names = [...this.filters, ...allTags(this.state.rows).map(tag => `#${tag}`)]
    const shown = Array.from(this.filter.options, option => option.value)
    if (names.join() === shown.join()) return
    const {value} = this.filter
    this.filter.replaceChildren(...makeOptions(names.map(name => [name, name])))
    this.filter.value = value
    if (value && !names.includes(value)) this.refilter('all')  // of a tag that is gone
  }

  /** Show cases in the order that the kernel sent, from the first page. */
  setOrder(order) {
    this.all = order
    this.list()
    if (this.returning) this.turnTo(this.state.open)
    this.returning = false
  }

  find(text) {
    this.state.search = text.trim().toLowerCase()
    this.list()
  }

  openFound() {
    const [first] = this.state.order
    if (first === undefined) this.app.notices.say('No id holds these letters.')
    else this.app.panel.open(first)
    this.app.root.focus()
  }

  /** Leave the cases that search and tag let pass. */
  list() {
    const {state, app, all} = this
    const {search, tag, start, rows} = state
    const passes = k =>
      (!search || start.ids[k].toLowerCase().includes(search)) &&
      (!tag || tagsOf(rows[k]?.note).includes(tag))
    state.order = search || tag ? Array.from(all).filter(passes) : all
    state.page = 0
    delete app.root.dataset.page
    if (state.tab === 'gallery') this.draw()
    app.root.dataset.order = `${state.sort}/${state.filter}/${state.order.length}`
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
    this.position.textContent = `${state.order.length} cases`
    this.pages.textContent = `/ ${pages}`
    Object.assign(this.page, {value: state.page + 1, max: pages})
    this.previous.disabled = !state.page
    this.next.disabled = state.page === pages - 1
    if (cases.length) this.publish(cases)
  }

  show() {
    this.draw()
  }

  /** Turn to the page whose number was typed. */
  jump() {
    this.turnPage(Math.round(Number(this.page.value) || 1) - 1 - this.state.page)
    this.app.root.focus()
  }

  /** Turn to the page of a case. */
  turnTo(k) {
    const position = Array.from(this.state.order).indexOf(k)
    if (position >= 0) this.turnPage(Math.floor(position / this.state.pageSize) - this.state.page)
  }

  turnPage(pages) {
    this.state.page += pages
    delete this.app.root.dataset.page
    this.draw()
  }

  saveTable() {
    const {app, state} = this
    saveFile(
      `${state.start.name}.csv`,
      makeTable(state, k => app.thumbnails.reasonOf(k)),
    )
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
