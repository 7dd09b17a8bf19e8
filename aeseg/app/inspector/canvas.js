// The canvas of the open case: image, layers and a proposed correction, with zoom.

import {make, resizeCanvas} from './dom.js'
import {paintHeatMap, paintImage, paintMask, paintOutline, paintProposal} from './painting.js'

const STEP = 1.4 // factor of one click on a zoom button
const [LEAST, MOST] = [0.5, 24] // zoom; 1 shows the whole image

/** The canvas of one view. */
export class Canvas {
  constructor(app) {
    this.app = app
    this.state = app.state
    this.element = make('canvas', {role: 'img', 'aria-label': 'The open case'})
    this.context = this.element.getContext('2d')
    this.stage = make('div', {className: 'ai-stage'}, this.element)
    this.resetZoom()
  }

  makeButtons() {
    const smaller = {textContent: '−', title: 'Smaller', onclick: () => this.zoomBy(1 / STEP)}
    const whole = {textContent: '⤢', title: 'Whole image (double click)', onclick: () => this.fit()}
    const larger = {textContent: '+', title: 'Larger (wheel)', onclick: () => this.zoomBy(STEP)}
    const makeButton = attributes => make('button', {...attributes, 'aria-label': attributes.title})
    const buttons = [smaller, whole, larger].map(makeButton)
    return make('div', {className: 'ai-zoom'}, ...buttons)
  }

  /** CSS pixels per pixel of an image. */
  scaleOf({shape}) {
    return Math.min(this.stage.clientWidth / shape[1], this.stage.clientHeight / shape[0]) * this.zoom
  }

  /** Show the whole image at the next drawing; x and y are its middle, CSS pixels from that of the canvas. */
  resetZoom() {
    Object.assign(this, {zoom: 1, x: 0, y: 0})
  }

  fit() {
    this.resetZoom()
    this.draw()
  }

  /** Zoom around a point, given in CSS pixels from the middle of the canvas. */
  zoomBy(factor, x = 0, y = 0) {
    const zoom = Math.min(Math.max(this.zoom * factor, LEAST), MOST)
    const change = zoom / this.zoom
    Object.assign(this, {zoom, x: x - (x - this.x) * change, y: y - (y - this.y) * change})
    if (zoom > 1) this.app.cases.wantPicture()
    this.draw()
  }

  /** Draw at the next frame, once for all changes until then. */
  drawSoon() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = undefined
      this.draw()
    })
  }

  moveTo(x, y) {
    Object.assign(this, {x, y})
    this.draw()
  }

  /** A pointer's place in CSS pixels from the middle of the canvas. */
  fromMiddle(event) {
    const box = this.element.getBoundingClientRect()
    return [event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2]
  }

  /** A pointer's place in pixels of the image. */
  toImage(event) {
    const {opened} = this.app.cases
    const scale = this.scaleOf(opened)
    const [x, y] = this.fromMiddle(event)
    return [(x - this.x) / scale + opened.shape[1] / 2, (y - this.y) / scale + opened.shape[0] / 2]
  }

  draw() {
    const {state} = this
    const {opened} = this.app.cases
    this.prepare(opened)
    if (!opened) return
    const scale = this.scaleOf(opened)
    paintImage(this.context, opened, state, scale)
    this.drawLayers(opened, scale)
    if (state.proposal?.k === state.open) paintProposal(this.context, state.proposal, scale)
    if (this.isPainting) paintMask(this.context, this.app.editor, opened.shape, scale)
    this.context.globalAlpha = 1
    const names = state.layers.filter(layer => layer.on).map(layer => layer.name)
    this.app.root.dataset.zoom = this.zoom.toFixed(2)
    this.app.root.dataset.full = opened.full.join('x')
    this.app.root.dataset.shown = `${state.open}/${state.round}/${names}`
  }

  /** Whether a mask is painted on, which then stands for label and correction. */
  get isPainting() {
    const {k, painted} = this.app.editor
    return k === this.state.open && painted !== null
  }

  /** Clear the canvas and place the image on it. */
  prepare(opened) {
    const {context, element, stage} = this
    const [width, height] = [stage.clientWidth, stage.clientHeight]
    const ratio = resizeCanvas(element, width, height)
    context.setTransform(1, 0, 0, 1, 0, 0)
    context.clearRect(0, 0, element.width, element.height)
    if (!opened) return
    const scale = this.scaleOf(opened)
    const left = width / 2 + this.x - (opened.shape[1] / 2) * scale
    const top = height / 2 + this.y - (opened.shape[0] / 2) * scale
    context.setTransform(ratio * scale, 0, 0, ratio * scale, ratio * left, ratio * top)
  }

  drawLayers(opened, scale) {
    const shown = this.state.layers.filter(layer => layer.on)
    for (const layer of shown.filter(layer => layer.heat)) {
      const map = this.entryOf(opened.heatMaps, layer)
      if (map) paintHeatMap(this.context, map, layer, opened.shape)
    }
    const isHidden = layer => layer.heat || (this.isPainting && ['label', 'corrected'].includes(layer.name))
    for (const layer of shown.filter(layer => !isHidden(layer))) {
      const path = this.entryOf(opened.outlines, layer)
      if (path) paintOutline(this.context, new Path2D(path), layer, scale)
    }
  }

  /** What a layer shows: entries are named layer/round, or layer/ where they are the same in all rounds. */
  entryOf(entries, layer) {
    return entries?.[`${layer.name}/${this.state.round}`] ?? entries?.[`${layer.name}/`]
  }
}
