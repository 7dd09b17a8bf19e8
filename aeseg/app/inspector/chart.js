// The chart of the selection: a histogram of scores, precision and recall of each threshold, and a line at
// the chosen one.

import {makeSvg} from './dom.js'

const [WIDTH, HEIGHT] = [600, 240]
const CURVES = {top: 162, bottom: 234} // where precision and recall are 1 and 0
const [KEPT, DROPPED] = ['#2a86c8', '#d55e00']
const FIXED_WIDTH = {'vector-effect': 'non-scaling-stroke'}

/** How many scores lie in each of the histogram's bins. */
function countBins(scores, low, high) {
  const bins = Math.min(40, Math.max(8, Math.round(Math.sqrt(scores.length) * 1.6)))
  const counts = new Array(bins).fill(0)
  for (const score of scores) {
    const bin = Math.floor(((score - low) / (high - low || 1)) * bins)
    counts[Math.min(bins - 1, bin)]++
  }
  return counts
}

/** The chart of one view; `use` is called with a score that the pointer is dragged to. */
export class Chart {
  constructor(use) {
    const viewBox = `0 0 ${WIDTH} ${HEIGHT}`
    this.use = use
    this.element = makeSvg('svg', {class: 'ai-chart', viewBox, preserveAspectRatio: 'none'})
    this.line = null // null until scores were drawn
    this.element.addEventListener('pointerdown', event => {
      this.element.setPointerCapture(event.pointerId)
      this.drag(event)
    })
    this.element.addEventListener('pointermove', event => this.drag(event))
  }

  positionOf(score) {
    return ((score - this.low) / (this.high - this.low || 1)) * WIDTH
  }

  /** Draw the histogram of known scores and, where truth is known, the curves. */
  draw(scores, {known, threshold, precision, recall}) {
    this.low = Math.min(...scores)
    this.high = Math.max(...scores)
    const floor = known > 0 ? 150 : 232
    this.element.replaceChildren()
    this.drawBars(countBins(scores, this.low, this.high), floor)
    this.drawLine({x1: 0, x2: WIDTH, y1: floor, y2: floor, stroke: 'var(--line)'})
    if (known > 0) {
      this.drawCurve(threshold, precision, 'var(--accent)')
      this.drawCurve(threshold, recall, 'var(--bad)')
    }
    this.line = this.drawLine({y1: 0, y2: HEIGHT, stroke: 'var(--ink)', 'stroke-width': 1.5})
  }

  drawBars(counts, floor) {
    const [width, most] = [WIDTH / counts.length, Math.max(...counts)]
    const step = (this.high - this.low) / counts.length
    this.bars = counts.map((count, n) => {
      const height = (count / most) * (floor - 8)
      const bar = makeSvg('rect', {x: n * width + 1, width: width - 2, y: floor - height, height, rx: 1.5})
      return {bar, score: this.low + (n + 0.5) * step}
    })
    this.element.append(...this.bars.map(({bar}) => bar))
  }

  drawLine(attributes) {
    const line = makeSvg('line', {...attributes, ...FIXED_WIDTH})
    this.element.append(line)
    return line
  }

  /** Draw the values of all thresholds as a curve; unknown ones are left out. */
  drawCurve(thresholds, values, stroke) {
    const points = []
    for (const [n, value] of values.entries()) {
      if (Number.isNaN(value) || !Number.isFinite(thresholds[n])) continue
      const y = CURVES.bottom - value * (CURVES.bottom - CURVES.top)
      points.push(`${this.positionOf(thresholds[n]).toFixed(1)} ${y.toFixed(1)}`)
    }
    if (!points.length) return
    const d = 'M' + points.join('L')
    this.element.append(makeSvg('path', {d, fill: 'none', stroke, 'stroke-width': 1.6, ...FIXED_WIDTH}))
  }

  /** Move the line to a threshold and colour what it drops. */
  mark(threshold) {
    for (const {bar, score} of this.bars) bar.setAttribute('fill', score < threshold ? DROPPED : KEPT)
    const x = this.positionOf(threshold)
    this.line.setAttribute('x1', x)
    this.line.setAttribute('x2', x)
  }

  drag(event) {
    if (event.buttons !== 1 || !this.line) return
    const box = this.element.getBoundingClientRect()
    const fraction = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width))
    this.use(this.low + fraction * (this.high - this.low))
  }
}
