// Corrections by hand: brush, eraser, polygon, a piece that is deleted, a hole that is filled. The mask has
// the resolution of its image; it goes to the kernel when it is applied or its case is left.

import {make, makeSlider} from './dom.js'
import {decodeRuns, encodeRuns, fillPolygon, findRegion, paintLine} from './mask.js'
import {Painted} from './painted.js'

const COLOUR = '#ffd60a'
const STEP = 1.2 // factor of the size by one key or one notch of the wheel
const CLOSE = 10 // CSS pixels around the first corner of a polygon within which a click closes it

export const TOOLS = {
  b: {name: 'brush', text: 'Brush', title: 'Paint (b); size by the wheel or [ and ]'},
  x: {name: 'eraser', text: 'Eraser', title: 'Erase (x)'},
  d: {name: 'piece', text: 'Delete piece', title: 'Click a piece to delete it (d)'},
  f: {name: 'hole', text: 'Fill hole', title: 'Click a hole to fill it (f)'},
  g: {name: 'polygon', text: 'Polygon', title: 'Click corners; Enter or the first corner closes it (g)'},
}

/** The tools of one view. */
export class Editor {
  constructor(app) {
    this.app = app
    this.k = null // the case whose label is painted on
    this.painted = null // null until its mask came
    this.tool = 'brush'
    this.size = 24 // diameter of brush and eraser, CSS pixels
    this.last = null // the pointer's last place in a stroke
    this.corners = [] // of a polygon that is not closed yet
    this.buttons = Object.entries(TOOLS).map(([key, tool]) => this.makeButton(key, tool))
    this.slider = makeSlider({low: 2, high: 200, step: 1, value: this.size}, size => this.setSize(size))
    this.slider.setAttribute('aria-label', 'Size of brush and eraser')
    this.ring = make('div', {className: 'ai-ring', hidden: true})
    this.bar = make('div', {className: 'ai-tools', hidden: true}, ...this.buttons, this.slider)
    this.leavePage = () => this.keep()
    window.addEventListener('beforeunload', this.leavePage)
  }

  makeButton(key, {name, text, title}) {
    const hint = make('kbd', {textContent: key, 'aria-hidden': true})
    const attributes = {title, onclick: () => this.use(name), 'aria-keyshortcuts': key}
    const button = make('button', attributes, text, hint)
    button.dataset.tool = name
    return button
  }

  get active() {
    return this.k !== null
  }

  /** Whether there is something that would be lost. */
  get changed() {
    return Boolean(this.painted?.changed)
  }

  /** Choose a tool; the first one asks for the mask of the open case. */
  use(name) {
    const {app} = this
    if (!app.decisions.canDecide || !app.cases.opened) return
    this.tool = name
    this.corners = []
    if (!this.active) {
      this.k = app.state.open
      app.state.proposal = null
      app.kernel.request('mask', {k: this.k})
      app.cases.wantPicture()
    }
    this.show()
  }

  /** Begin with the mask that the kernel sent. */
  begin(k, shape, runs) {
    if (k !== this.k || this.painted) return
    this.painted = new Painted(decodeRuns(runs, shape[0] * shape[1]), shape, COLOUR)
    this.app.root.dataset.painting = String(k)
    this.app.canvas.draw()
  }

  show() {
    this.bar.hidden = !this.active
    this.buttons.forEach(button => {
      const isOn = this.active && button.dataset.tool === this.tool
      button.classList.toggle('on', isOn)
      button.setAttribute('aria-pressed', String(isOn))
    })
    if (!this.active || !this.hasSize) this.ring.hidden = true
    this.app.canvas.element.classList.toggle('painting', this.active)
    this.app.decisions.show()
    this.app.canvas.draw()
  }

  get hasSize() {
    return this.tool === 'brush' || this.tool === 'eraser'
  }

  setSize(size) {
    this.size = Math.min(200, Math.max(2, size))
    this.slider.value = this.size
    if (this.place) this.drawRing(...this.place)
  }

  /** Make brush and eraser larger or smaller. */
  grow(steps) {
    this.setSize(this.size * STEP ** steps)
  }

  /** Show the size at a place on the stage, in CSS pixels. */
  drawRing(x, y) {
    this.place = [x, y]
    this.ring.hidden = !this.active || !this.hasSize
    Object.assign(this.ring.style, {width: `${this.size}px`, height: `${this.size}px`})
    this.ring.style.transform = `translate(${x - this.size / 2}px, ${y - this.size / 2}px)`
  }

  /** CSS pixels per pixel of the mask. */
  get scale() {
    const {opened} = this.app.cases
    return (this.app.canvas.scaleOf(opened) * opened.shape[1]) / this.painted.shape[1]
  }

  /** A pointer's place in pixels of the mask. */
  toMask(event) {
    const {shape} = this.app.cases.opened
    const [x, y] = this.app.canvas.toImage(event)
    return [(x * this.painted.shape[1]) / shape[1], (y * this.painted.shape[0]) / shape[0]]
  }

  press(event) {
    if (!this.painted) return
    const point = this.toMask(event)
    if (this.tool === 'polygon') this.addCorner(point)
    else if (this.tool === 'piece') this.replaceRegion(point, 1)
    else if (this.tool === 'hole') this.replaceRegion(point, 0)
    else {
      this.painted.begin()
      this.last = point
      this.stroke(event)
    }
  }

  /** Continue a stroke through all places that the pointer passed since the last event. */
  stroke(event) {
    if (!this.last) return
    const passed = event.getCoalescedEvents?.() ?? []
    for (const place of passed.length ? passed : [event]) this.strokeTo(this.toMask(place))
    this.app.canvas.drawSoon()
  }

  strokeTo(point) {
    const {painted, last} = this
    const radius = Math.max(0.5, this.size / 2 / this.scale)
    painted.touch(paintLine(painted.mask, painted.shape, last, point, radius, this.tool === 'brush' ? 1 : 0))
    this.last = point
  }

  release() {
    if (!this.last) return
    this.last = null
    this.painted.end()
    this.publish()
  }

  /** Delete a piece (of 1) or fill a hole (of 0) at a point. */
  replaceRegion([x, y], value) {
    const {mask, shape} = this.painted
    const isInside = x >= 0 && y >= 0 && x < shape[1] && y < shape[0]
    if (!isInside || mask[Math.floor(y) * shape[1] + Math.floor(x)] !== value) return
    const {pixels, box, open} = findRegion(mask, shape, x, y)
    if (value === 0 && open) {
      this.app.notices.say('That is no hole: it reaches the edge of the image.')
      return
    }
    this.change(() => {
      for (const pixel of pixels) mask[pixel] = 1 - value
      return box
    })
  }

  /** Make one step; `use` changes the mask and returns the box. */
  change(use) {
    this.painted.begin()
    this.painted.touch(use())
    this.painted.end()
    this.app.canvas.draw()
    this.publish()
  }

  addCorner(point) {
    const [first] = this.corners
    const isClosed = first && Math.hypot(first[0] - point[0], first[1] - point[1]) * this.scale < CLOSE
    if (isClosed && this.corners.length > 2) this.closePolygon()
    else this.corners.push(point)
    this.app.canvas.draw()
  }

  closePolygon() {
    const {corners, painted} = this
    this.corners = []
    this.change(() => fillPolygon(painted.mask, painted.shape, corners, 1))
  }

  /** Take the last corner or step back. */
  undo() {
    if (this.corners.length) this.corners.pop()
    else if (!this.painted?.undo()) this.app.notices.say('Nothing was painted; Escape ends the correction.')
    this.app.canvas.draw()
    this.publish()
  }

  /** Enter closes a polygon, or saves the correction. */
  confirm() {
    if (this.corners.length > 2) this.closePolygon()
    else this.apply()
  }

  /** Send the mask as the label's correction; false where there is no connection. */
  apply() {
    if (!this.active) return true
    if (this.changed) {
      const {k} = this
      const values = {k, how: 'painted', base: this.app.decisions.baseOf([k])}
      const {buffer} = encodeRuns(this.painted.mask)
      if (!this.app.decisions.change('correct', values, [buffer])) return false
    }
    this.end()
    return true
  }

  /** Keep what was painted when the page goes, connected or not: it is sent again by the next page. */
  keep() {
    if (!this.changed) return
    const values = {k: this.k, how: 'painted', base: this.app.decisions.baseOf([this.k])}
    this.app.kernel.keep('correct', values, [encodeRuns(this.painted.mask).buffer])
    this.end()
  }

  /** Leave the case; what was painted is saved first. False where it cannot be saved. */
  leave() {
    const hadChanges = this.changed
    const isLeft = this.apply()
    if (isLeft && hadChanges) this.app.notices.say('The correction was saved; u takes it back.')
    return isLeft
  }

  cancel() {
    this.end()
  }

  end() {
    Object.assign(this, {k: null, painted: null, last: null, corners: []})
    delete this.app.root.dataset.painting
    this.publish()
    this.show()
  }

  publish() {
    this.app.root.dataset.steps = String(this.painted?.steps.length ?? 0)
  }

  close() {
    window.removeEventListener('beforeunload', this.leavePage)
  }
}
