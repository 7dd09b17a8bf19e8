// Mouse, pen and touch on the canvas: drag the image or a handle of an ellipse, zoom by the wheel; while a
// label is painted on, the first button belongs to the tool, the others drag, and the wheel with Ctrl zooms.

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
    element.addEventListener('pointerup', () => this.release())
    element.addEventListener('pointercancel', () => this.release())
    element.addEventListener('pointerleave', () => (app.editor.ring.hidden = true))
    element.addEventListener('contextmenu', event => app.editor.active && event.preventDefault())
    element.addEventListener('dblclick', () => app.editor.active || app.canvas.fit())
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
    if (this.app.editor.active && event.button === 0) {
      this.app.editor.press(event)
      return
    }
    const handle = this.handleAt(event)
    const {x, y} = this.canvas
    this.held = handle >= 0 ? {handle} : {x: event.clientX - x, y: event.clientY - y}
  }

  release() {
    this.held = null
    this.app.editor.release()
  }

  /** A pointer's place in CSS pixels from the corner of the stage. */
  onStage(event) {
    const {left, top} = this.canvas.element.getBoundingClientRect()
    return [event.clientX - left, event.clientY - top]
  }

  move(event) {
    const {editor} = this.app
    if (editor.active) {
      editor.drawRing(...this.onStage(event))
      editor.stroke(event)
    }
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
    const {editor} = this.app
    if (editor.active && editor.hasSize && !event.ctrlKey) editor.grow(event.deltaY < 0 ? 1 : -1)
    else this.canvas.zoomBy(Math.exp(-event.deltaY / 300), ...this.canvas.fromMiddle(event))
  }
}
