// The latent space of the VAE: one point a label. A click opens its case, Shift and a click choose it, and a
// lasso that is drawn chooses many.

import {make, resizeCanvas} from './dom.js'
import {MARKS} from './state.js'

const MARGIN = 10 // CSS pixels
const RADIUS = 3.6 // CSS pixels of a point
const RING = 8 // CSS pixels, radius of the ring around the open case
const REACH = 30 // CSS pixels around a click within which a point is chosen
const DRAWN = 6 // CSS pixels that a pointer moves before it draws a lasso
const [LOW, HIGH] = [
  [196, 66, 0],
  [112, 163, 204],
] // colours of the lowest and the highest score
const TITLE = 'latent space of the VAE, one point a label'
const LOADING = 'latent space of the VAE: encoding the labels …'
const MISSING = 'no VAE in this run folder, so no latent space'

function addCircle(context, [x, y], radius) {
  context.beginPath()
  context.arc(x, y, radius, 0, 2 * Math.PI)
}

/** Whether a point lies in a polygon. */
function isInside([x, y], corners) {
  let inside = false
  for (const [n, [x1, y1]] of corners.entries()) {
    const [x2, y2] = corners[(n + 1) % corners.length]
    if (y1 > y !== y2 > y && x < x1 + ((y - y1) * (x2 - x1)) / (y2 - y1)) inside = !inside
  }
  return inside
}

/** What colours and marks mean. */
function makeLegend() {
  const swatch = rgb => {
    const element = make('i')
    element.style.background = `rgb(${rgb})`
    return element
  }
  const low = make('span', {}, swatch(LOW), 'low score')
  const high = make('span', {}, swatch(HIGH), 'high score')
  const marks = Object.entries(MARKS).map(([name, mark]) =>
    make('span', {}, make('b', {textContent: mark}), name),
  )
  return make('div', {className: 'ai-key'}, low, high, ...marks, make('span', {textContent: 'drag: lasso'}))
}

/** The scatter plot of one view. */
export class Scatter {
  constructor(app) {
    this.app = app
    this.state = app.state
    this.lasso = [] // corners, CSS pixels
    const label = 'Latent space, one point a label'
    this.canvas = make('canvas', {role: 'img', 'aria-label': label})
    this.canvas.addEventListener('pointerdown', event => this.press(event))
    this.canvas.addEventListener('pointermove', event => this.drag(event))
    this.canvas.addEventListener('pointerup', event => this.release(event))
    this.title = make('h4', {textContent: TITLE})
    this.box = make('div', {className: 'ai-scatter'}, this.canvas)
    this.elements = [this.title, makeLegend(), this.box]
    this.clear()
  }

  /** Forget the points; x and y of each case in turn, NaN where there is no label. */
  clear() {
    this.points = null
    this.message = LOADING
  }

  /** Request the points where they did not come yet. */
  show() {
    if (!this.points) this.app.kernel.request('latent')
    this.draw()
  }

  /** Keep the points; null says that there are none. */
  setPoints(points) {
    this.points = points
    this.message = points ? LOADING : MISSING
    if (this.state.tab === 'overview') this.draw()
  }

  /** The cases that have a point. */
  casesWithPoints() {
    const {points} = this
    return Array.from({length: points.length / 2}, (_, k) => k).filter(k => !Number.isNaN(points[2 * k]))
  }

  /** A function that gives the place of a case's point on the canvas, in CSS pixels. */
  placing(cases) {
    const {points} = this
    const {clientWidth, clientHeight} = this.box
    const [xs, ys] = [0, 1].map(axis => cases.map(k => points[2 * k + axis]))
    const [left, bottom] = [Math.min(...xs), Math.min(...ys)]
    const scaleX = (clientWidth - 2 * MARGIN) / (Math.max(...xs) - left || 1)
    const scaleY = (clientHeight - 2 * MARGIN) / (Math.max(...ys) - bottom || 1)
    return k => [
      MARGIN + (points[2 * k] - left) * scaleX,
      clientHeight - MARGIN - (points[2 * k + 1] - bottom) * scaleY,
    ]
  }

  draw() {
    this.title.textContent = this.points ? TITLE : this.message
    if (!this.points) return
    const {canvas, box, state} = this
    const ratio = resizeCanvas(canvas, box.clientWidth, box.clientHeight)
    const context = canvas.getContext('2d')
    context.setTransform(ratio, 0, 0, ratio, 0, 0)
    context.clearRect(0, 0, box.clientWidth, box.clientHeight)
    const cases = this.casesWithPoints()
    const place = this.placing(cases)
    const scores = state.start.numbers.score
    const ranks = [...cases].sort((a, b) => scores[b] - scores[a]) // the lowest scores are drawn last, on top
    const known = cases.map(k => scores[k]).filter(score => !Number.isNaN(score))
    const [low, high] = [Math.min(...known), Math.max(...known)]
    for (const k of ranks) this.drawPoint(context, k, place(k), (scores[k] - low) / (high - low || 1))
    if (cases.includes(state.open)) this.drawRing(context, place(state.open), RING)
    for (const k of this.app.chosen.cases) if (cases.includes(k)) this.drawRing(context, place(k), RADIUS + 2)
    this.drawLasso(context)
    this.app.root.dataset.scatter = String(cases.length)
  }

  /** Draw a point whose colour is the score, from 0 for the lowest to 1, or the mark of its decision. */
  drawPoint(context, k, place, score) {
    const decision = this.state.rows[k]?.decision
    const rgb = LOW.map((low, n) => Math.round(low + (HIGH[n] - low) * (Number.isNaN(score) ? 0.5 : score)))
    context.globalAlpha = 1
    context.fillStyle = `rgb(${rgb})`
    if (decision) {
      context.font = 'bold 13px system-ui, sans-serif'
      context.textAlign = 'center'
      context.textBaseline = 'middle'
      context.fillStyle = this.ink
      context.fillText(MARKS[decision], ...place)
      return
    }
    addCircle(context, place, RADIUS)
    context.fill()
    context.strokeStyle = '#0006'
    context.lineWidth = 0.75
    context.stroke()
  }

  get ink() {
    return getComputedStyle(this.app.root).color
  }

  /** Draw a ring around the open case, or a chosen one. */
  drawRing(context, place, radius) {
    context.globalAlpha = 1
    context.strokeStyle = this.ink
    context.lineWidth = 2
    addCircle(context, place, radius)
    context.stroke()
  }

  drawLasso(context) {
    if (this.lasso.length < 2) return
    context.strokeStyle = this.ink
    context.lineWidth = 1.5
    context.setLineDash([5, 4])
    context.beginPath()
    for (const corner of this.lasso) context.lineTo(...corner)
    context.closePath()
    context.stroke()
    context.setLineDash([])
  }

  /** A pointer's place on the canvas, CSS pixels. */
  placeOf(event) {
    const {left, top} = this.canvas.getBoundingClientRect()
    return [event.clientX - left, event.clientY - top]
  }

  press(event) {
    if (!this.points || event.button !== 0) return
    this.canvas.setPointerCapture(event.pointerId)
    this.start = this.placeOf(event)
    this.lasso = []
  }

  drag(event) {
    if (!this.start) return
    const place = this.placeOf(event)
    const isFar = Math.hypot(place[0] - this.start[0], place[1] - this.start[1]) > DRAWN
    if (!isFar && !this.lasso.length) return
    if (!this.lasso.length) this.lasso.push(this.start)
    this.lasso.push(place)
    this.draw()
  }

  release(event) {
    if (!this.start) return
    this.start = null
    const corners = this.lasso
    this.lasso = []
    if (corners.length) this.chooseInside(corners)
    else this.openNearest(event)
    this.draw()
  }

  chooseInside(corners) {
    const cases = this.casesWithPoints()
    const place = this.placing(cases)
    this.app.chosen.add(cases.filter(k => isInside(place(k), corners)))
  }

  /** Open or choose the case whose point is next to a click, where one is near. */
  openNearest(event) {
    const [left, top] = this.placeOf(event)
    const cases = this.casesWithPoints()
    const place = this.placing(cases)
    let [nearest, least] = [null, REACH]
    for (const k of cases) {
      const [x, y] = place(k)
      const distance = Math.hypot(x - left, y - top)
      if (distance < least) [nearest, least] = [k, distance]
    }
    if (nearest === null) return
    if (event.shiftKey) this.app.chosen.toggle(nearest)
    else this.app.panel.open(nearest)
  }
}
