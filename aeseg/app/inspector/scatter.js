// The latent space of the VAE: one point a label; a click opens its case.

import {make, resizeCanvas} from './dom.js'

const MARGIN = 10 // CSS pixels
const RADIUS = 3.4 // CSS pixels of a point
const RING = 7 // CSS pixels, radius of the ring around the open case
const REACH = 30 // CSS pixels around a click within which a point is chosen
const COLOURS = {accepted: '#1f883d', rejected: '#cf3c1b', corrected: '#8250df', undecided: '#2a86c8'}
const TITLE = 'latent space of the VAE, one point a label: pale is a low score'
const LOADING = 'latent space of the VAE: encoding the labels …'
const MISSING = 'no VAE in this run folder, so no latent space'

function addCircle(context, [x, y], radius) {
  context.beginPath()
  context.arc(x, y, radius, 0, 2 * Math.PI)
}

/** The scatter plot of one view. */
export class Scatter {
  constructor(app) {
    this.app = app
    this.state = app.state
    this.points = null // x and y of each case in turn, NaN where there is no label
    this.message = LOADING
    const label = 'Latent space, one point a label'
    this.canvas = make('canvas', {role: 'img', 'aria-label': label, onclick: event => this.openNearest(event)})
    this.title = make('h4', {textContent: TITLE})
    this.box = make('div', {className: 'ai-scatter'}, this.canvas)
    this.elements = [this.title, this.box]
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
    for (const k of cases) this.drawPoint(context, k, place(k))
    if (cases.includes(state.open)) this.drawRing(context, place(state.open))
    this.app.root.dataset.scatter = String(cases.length)
  }

  drawPoint(context, k, place) {
    const score = this.state.start.numbers.score[k]
    const decision = this.state.rows[k]?.decision
    context.globalAlpha = decision ? 1 : 0.2 + 0.7 * (Number.isNaN(score) ? 0.5 : score)
    context.fillStyle = COLOURS[decision || 'undecided']
    addCircle(context, place, RADIUS)
    context.fill()
  }

  /** Draw a ring around the open case. */
  drawRing(context, place) {
    context.globalAlpha = 1
    context.strokeStyle = getComputedStyle(this.app.root).color
    context.lineWidth = 2
    addCircle(context, place, RING)
    context.stroke()
  }

  /** Open the case whose point is next to a click, where one is near. */
  openNearest(event) {
    if (!this.points) return
    const {left, top} = this.canvas.getBoundingClientRect()
    const cases = this.casesWithPoints()
    const place = this.placing(cases)
    let [nearest, least] = [null, REACH]
    for (const k of cases) {
      const [x, y] = place(k)
      const distance = Math.hypot(x - event.clientX + left, y - event.clientY + top)
      if (distance < least) [nearest, least] = [k, distance]
    }
    this.app.panel.open(nearest)
  }
}
