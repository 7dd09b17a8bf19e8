// Mouse, pen and touch on the canvas: drag the image or a handle of an ellipse, zoom by the wheel.

import {handlesOf, moveHandle} from './ellipse.js'

const REACH = 11 // CSS pixels around a handle within which it is held

/** The pointer on the canvas of one view. */
export class Pointer {
  constructor(app) {
    this.app = app
    this.canvas = app.canvas
    this.held = null // {handle} of an ellipse, or {x, y} of the image
    const {element} = app.canvas
    element.addEventListener('pointerdown', event => this.press(event))
    element.addEventListener('pointermove', event => this.move(event))
    element.addEventListener('pointerup', () => (this.held = null))
    element.addEventListener('dblclick', () => app.canvas.fit())
    element.addEventListener('wheel', event => this.zoom(event), {passive: false})
  }

  /** The handle of the proposed ellipse at a pointer's place, -1 where there is none. */
  handleAt(event) {
    const ellipse = this.app.state.proposal?.ellipse
    if (!ellipse) return -1
    const [x, y] = this.canvas.toImage(event)
    const reach = REACH / this.canvas.scaleOf(this.app.cases.opened)
    return handlesOf(ellipse).findIndex(([left, top]) => Math.hypot(left - x, top - y) < reach)
  }

  press(event) {
    this.app.root.focus({preventScroll: true})
    if (!this.app.cases.opened) return
    this.canvas.element.setPointerCapture(event.pointerId)
    const handle = this.handleAt(event)
    const {x, y} = this.canvas
    this.held = handle >= 0 ? {handle} : {x: event.clientX - x, y: event.clientY - y}
  }

  move(event) {
    if (!this.held) return
    const {handle, x, y} = this.held
    if (handle === undefined) {
      this.canvas.moveTo(event.clientX - x, event.clientY - y)
      return
    }
    moveHandle(this.app.state.proposal.ellipse, handle, ...this.canvas.toImage(event))
    this.canvas.draw()
  }

  /** Zoom around the pointer; without the focus, the wheel scrolls the notebook. */
  zoom(event) {
    if (!this.app.fillsWindow && !this.app.root.contains(document.activeElement)) return
    event.preventDefault()
    this.canvas.zoomBy(Math.exp(-event.deltaY / 300), ...this.canvas.fromMiddle(event))
  }
}
