// The chart of the selection: a histogram of scores, precision and recall of each threshold, and a line at
// the chosen one. Lines are SVG, which is stretched; words are HTML above it, which is not.

import {make, makeSvg} from './dom.js'

const [WIDTH, HEIGHT] = [600, 240]
const CURVES = {top: 162, bottom: 234} // where precision and recall are 1 and 0
const TICKS = 5
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
    this.svg = makeSvg('svg', {viewBox, preserveAspectRatio: 'none', role: 'img'})
    this.svg.setAttribute('aria-label', 'Histogram of scores; precision and recall of each threshold')
    this.words = make('div', {className: 'ai-words'})
    this.value = make('b', {className: 'ai-value'})
    this.element = make('div', {className: 'ai-chart'}, this.svg, this.words, this.value)
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
    const counts = countBins(scores, this.low, this.high)
    this.svg.replaceChildren()
    this.words.replaceChildren()
    this.drawBars(counts, floor)
    this.drawLine({x1: 0, x2: WIDTH, y1: floor, y2: floor, stroke: 'var(--line)'})
    this.drawTicks(floor)
    this.write(`${Math.max(...counts)} labels`, 0, 8)
    if (known > 0) {
      this.drawCurve('precision', threshold, precision, 'var(--accent)')
      this.drawCurve('recall', threshold, recall, 'var(--bad)')
      this.write('100 %', 0, CURVES.top)
      this.write('0 %', 0, CURVES.bottom)
    }
    this.line = this.drawLine({y1: 0, y2: HEIGHT, stroke: 'var(--ink)', 'stroke-width': 1.5})
  }

  /** Write a word at a place of the drawing. */
  write(textContent, x, y, colour = '') {
    const word = make('span', {textContent})
    Object.assign(word.style, {left: `${(100 * x) / WIDTH}%`, top: `${(100 * y) / HEIGHT}%`, color: colour})
    this.words.append(word)
    return word
  }

  drawBars(counts, floor) {
    const [width, most] = [WIDTH / counts.length, Math.max(...counts)]
    const step = (this.high - this.low) / counts.length
    this.bars = counts.map((count, n) => {
      const height = (count / most) * (floor - 8)
      const bar = makeSvg('rect', {x: n * width + 1, width: width - 2, y: floor - height, height, rx: 1.5})
      return {bar, score: this.low + (n + 0.5) * step}
    })
    this.svg.append(...this.bars.map(({bar}) => bar))
  }

  /** Draw ticks of the score with their values. */
  drawTicks(floor) {
    for (let n = 0; n < TICKS; n++) {
      const score = this.low + ((n + 0.5) / TICKS) * (this.high - this.low)
      const x = this.positionOf(score)
      this.drawLine({x1: x, x2: x, y1: floor, y2: floor + 5, stroke: 'var(--quiet)'})
      this.write(n ? score.toFixed(2) : `score ${score.toFixed(2)}`, x, floor + 5).className = 'tick'
    }
  }

  drawLine(attributes) {
    const line = makeSvg('line', {...attributes, ...FIXED_WIDTH})
    this.svg.append(line)
    return line
  }

  /** Draw the values of all thresholds as a curve with its name; unknown ones are left out. */
  drawCurve(name, thresholds, values, stroke) {
    const points = []
    for (const [n, value] of values.entries()) {
      if (Number.isNaN(value) || !Number.isFinite(thresholds[n])) continue
      const y = CURVES.bottom - value * (CURVES.bottom - CURVES.top)
      points.push([this.positionOf(thresholds[n]), y])
    }
    if (!points.length) return
    const d = 'M' + points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join('L')
    this.svg.append(makeSvg('path', {d, fill: 'none', stroke, 'stroke-width': 1.6, ...FIXED_WIDTH}))
    const [x, y] = points[Math.floor(points.length * (name === 'recall' ? 0.35 : 0.7))]
    this.write(name, x, y, stroke).className = 'curve'
  }

  /** Move the line to a threshold, write its value, and colour what it drops. */
  mark(threshold) {
    for (const {bar, score} of this.bars) bar.setAttribute('fill', score < threshold ? DROPPED : KEPT)
    const x = this.positionOf(threshold)
    this.line.setAttribute('x1', x)
    this.line.setAttribute('x2', x)
    this.value.textContent = threshold.toFixed(3)
    this.value.style.left = `${Math.min(94, Math.max(4, (100 * x) / WIDTH))}%`
  }

  drag(event) {
    if (event.buttons !== 1 || !this.line) return
    const box = this.element.getBoundingClientRect()
    const fraction = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width))
    this.use(this.low + fraction * (this.high - this.low))
  }
}
