// Thumbnails: small pictures with the outline of a label, loaded when they are needed.

import {formatNumber, make, makeSvg} from './dom.js'
import {MARKS} from './state.js'

const BATCH = 8 // thumbnails in one request: few, so that the first ones are shown at once
const LONGEST_NAME = 14 // characters

/** The name of a case without what all names begin with. */
function shorten(id, prefix) {
  const rest = id.slice(prefix) || id
  return rest.length > LONGEST_NAME ? '…' + rest.slice(2 - LONGEST_NAME) : rest
}

/** An image with the outline of its label. */
function makePicture(thumbnail, id) {
  const [height, width] = thumbnail.shape
  const outline = makeSvg('svg', {viewBox: `0 0 ${width} ${height}`})
  if (thumbnail.path) {
    outline.append(makeSvg('path', {d: thumbnail.path, class: 'rim'}))
    outline.append(makeSvg('path', {d: thumbnail.path, class: 'own'}))
  }
  return thumbnail.url ? [make('img', {src: thumbnail.url, alt: id, draggable: false}), outline] : [outline]
}

function makeBadge(decision) {
  const attributes = {className: `ai-badge ai-${decision}`, role: 'img', 'aria-label': decision}
  return make('div', {...attributes, textContent: MARKS[decision]})
}

function keyOf(k, round) {
  return `${round}/${k}`
}

/** The thumbnails of one view. */
export class Thumbnails {
  constructor(app) {
    this.app = app
    this.loaded = new Map()
    this.requested = new Set()
  }

  /** Request the thumbnails of cases that are neither here nor on their way. */
  want(cases, round) {
    const isMissing = key => !this.loaded.has(key) && !this.requested.has(key)
    const missing = cases.filter(k => isMissing(keyOf(k, round)))
    missing.forEach(k => this.requested.add(keyOf(k, round)))
    for (let n = 0; n < missing.length; n += BATCH) {
      this.app.kernel.request('thumbs', {numbers: missing.slice(n, n + BATCH), round})
    }
  }

  /** Keep a thumbnail; `data` are the bytes of a JPEG, or none. */
  add(item, round, data) {
    const url = data.byteLength ? URL.createObjectURL(new Blob([data], {type: 'image/jpeg'})) : null
    this.loaded.set(keyOf(item.k, round), {...item, url})
  }

  forget(k, round) {
    this.loaded.delete(keyOf(k, round))
    this.requested.delete(keyOf(k, round))
  }

  clear() {
    this.close()
    this.loaded.clear()
    this.requested.clear()
  }

  areLoaded(cases, round) {
    return cases.every(k => this.loaded.has(keyOf(k, round)))
  }

  makeFrame(k, round) {
    const {tile, ids} = this.app.state.start
    const frame = make('div', {className: 'ai-frame'})
    frame.style.aspectRatio = `${tile[1]}/${tile[0]}`
    const thumbnail = this.loaded.get(keyOf(k, round))
    if (thumbnail) frame.append(...makePicture(thumbnail, ids[k]))
    return frame
  }

  /** Why a case is suspicious, in words: by the order's own criterion, or where its rank is the highest. */
  reasonOf(k) {
    const {sort, start} = this.app.state
    const own = start.reasons.find(([name]) => name === sort)
    const [name, words] = own ?? start.reasons[start.why[k]] ?? []
    return name ? `${words} ${formatNumber(start.numbers[name][k], 2)}` : ''
  }

  makeCaption(k) {
    const {sort, start} = this.app.state
    const isShown = sort in start.numbers && sort !== 'suspicion'
    const value = start.numbers[isShown ? sort : 'score'][k]
    return make(
      'div',
      {className: 'ai-caption'},
      make('span', {textContent: shorten(start.ids[k], start.prefix)}),
      make('b', {textContent: formatNumber(value, 2)}),
    )
  }

  /** A tile that opens its case; a captioned one shows the decision, too. */
  makeTile(k, round = this.app.state.start.last, captioned = true) {
    const {start, open, rows, sort} = this.app.state
    const dropped = !start.kept[k]
    const frame = this.makeFrame(k, round)
    const decision = rows[k]?.decision
    const title = start.ids[k] + (dropped ? ', dropped by the selection' : '')
    const reason = captioned ? this.reasonOf(k) : ''
    const tile = make(
      'div',
      {
        className: this.classOf(k) + (dropped ? ' dropped' : ''),
        title: reason ? `${title}\n${reason}` : title,
        role: 'button',
        tabIndex: 0,
        'aria-pressed': String(k === open),
        onclick: event => (event.shiftKey ? this.app.chosen.toggle(k) : this.open(k)),
        onkeydown: event => (event.key === 'Enter' || event.key === ' ') && this.openByKey(event, k),
      },
      frame,
    )
    tile.dataset.k = k
    if (decision && captioned) frame.append(makeBadge(decision))
    if (reason && sort !== 'score') frame.append(make('div', {className: 'ai-reason', textContent: reason}))
    if (captioned) tile.append(this.makeCaption(k))
    else tile.dataset.round = round
    return tile
  }

  classOf(k) {
    const isChosen = this.app.chosen.has(k)
    return 'ai-tile' + (k === this.app.state.open ? ' now' : '') + (isChosen ? ' chosen' : '')
  }

  open(k) {
    this.app.panel.open(k)
    this.app.root.focus({preventScroll: true})
  }

  /** Open a case by a key; its tile keeps the focus. */
  openByKey(event, k) {
    event.preventDefault()
    this.app.panel.open(k)
  }

  /** Draw the visible tiles of some cases again; a tile that has the focus keeps it. */
  refresh(cases) {
    for (const tile of this.app.root.querySelectorAll('.ai-left .ai-tile')) {
      const {k, round} = tile.dataset
      if (!cases.includes(Number(k))) continue
      const captioned = round === undefined
      const hadFocus = document.activeElement === tile
      const another = this.makeTile(Number(k), captioned ? undefined : Number(round), captioned)
      tile.replaceWith(another)
      if (hadFocus) another.focus({preventScroll: true})
    }
  }

  close() {
    for (const {url} of this.loaded.values()) if (url) URL.revokeObjectURL(url)
  }
}
