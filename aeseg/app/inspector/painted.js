// A mask that is painted on: its pixels, a picture of it, and the steps that can be undone.

import {make} from './dom.js'
import {copyBox, joinBoxes, pasteBox} from './mask.js'

const [INSIDE, EDGE] = [88, 255] // opacity of the mask and of its outermost pixels

/** The mask of one correction. */
export class Painted {
  constructor(mask, shape, colour) {
    const [height, width] = shape
    this.mask = mask
    this.shape = shape
    this.rgb = [1, 3, 5].map(n => parseInt(colour.slice(n, n + 2), 16))
    this.canvas = make('canvas', {width, height})
    this.context = this.canvas.getContext('2d')
    this.steps = [] // {box, rows}: what a step replaced
    this.before = null // the mask before the step that is being made
    this.touched = null // the box of that step
    this.draw([0, 0, height, width])
  }

  get changed() {
    return this.steps.length > 0
  }

  /** Begin a step; what it replaces is kept when it ends. */
  begin() {
    this.before = this.mask.slice()
    this.touched = null
  }

  /** Draw a box that was changed within a step. */
  touch(box) {
    this.touched = joinBoxes(this.touched, box)
    this.draw(box)
  }

  end() {
    const [before, box] = [this.before, this.touched]
    this.before = null
    if (!before || !box) return
    this.steps.push({box, rows: copyBox(before, this.shape[1], box)})
  }

  /** Take the last step back; false where there is none. */
  undo() {
    const step = this.steps.pop()
    if (!step) return false
    pasteBox(this.mask, this.shape[1], step.box, step.rows)
    this.draw(step.box)
    return true
  }

  /** Whether a pixel of the mask has a neighbour outside. */
  isEdge(row, column) {
    const {mask, shape} = this
    const [height, width] = shape
    const n = row * width + column
    if (row === 0 || column === 0 || row === height - 1 || column === width - 1) return true
    return !mask[n - 1] || !mask[n + 1] || !mask[n - width] || !mask[n + width]
  }

  /** Draw the pixels in a box, and those around it, whose neighbours changed. */
  draw([top, left, bottom, right]) {
    const {mask, shape, rgb} = this
    const [height, width] = shape
    const [first, start] = [Math.max(0, top - 1), Math.max(0, left - 1)]
    const [rows, columns] = [Math.min(height, bottom + 1) - first, Math.min(width, right + 1) - start]
    if (rows <= 0 || columns <= 0) return
    const picture = new ImageData(columns, rows)
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        if (!mask[(first + row) * width + start + column]) continue
        const n = 4 * (row * columns + column)
        for (let channel = 0; channel < 3; channel++) picture.data[n + channel] = rgb[channel]
        picture.data[n + 3] = this.isEdge(first + row, start + column) ? EDGE : INSIDE
      }
    }
    this.context.putImageData(picture, start, first)
  }
}
