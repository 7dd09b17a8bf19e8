// The selection: what a threshold on the score drops, and how much of that is bad.

import {Chart} from './chart.js'
import {make, makeSlider} from './dom.js'
import {casesByScore} from './state.js'

const STRIP = 4 // labels on each side of the threshold
const PAUSE = 60 // milliseconds without a change before these labels are drawn
const ROUNDING = 1e-7 // scores are sent as 32-bit numbers
const FIGURES = {
  kept: {text: 'kept'},
  dropped: {text: 'dropped'},
  precision: {text: 'of the dropped are bad', colour: 'var(--accent)'}, // needs truth, as recall
  recall: {text: 'of the bad are found', colour: 'var(--bad)'},
}

/** The first of the sorted thresholds that is not below a score. */
function findThreshold(thresholds, score) {
  let [low, high] = [0, thresholds.length - 1]
  while (low < high) {
    const middle = (low + high) >> 1
    if (thresholds[middle] < score - ROUNDING) low = middle + 1
    else high = middle
  }
  return low
}

/** The lowest score that the run itself kept. */
function thresholdOfRun({kept, numbers}) {
  const scores = Array.from(numbers.score)
  return Math.min(...scores.map((score, k) => (kept[k] && !Number.isNaN(score) ? score : Infinity)))
}

function formatPercent(fraction) {
  return Number.isNaN(fraction) ? '–' : `${Math.round(100 * fraction)} %`
}

function makeStrip(title, grid) {
  return make('div', {}, make('h4', {textContent: title}), grid)
}

/** The tab with the selection. */
export class Selection {
  constructor(app) {
    this.app = app
    this.state = app.state
    this.statistics = null // precision, recall and number of dropped labels of each threshold
    this.threshold = null
    this.updates = 0
    this.figures = make('div', {className: 'ai-big'})
    this.values = {}
    for (const name of Object.keys(FIGURES)) this.values[name] = make('b', {textContent: '–'})
    this.chart = new Chart(score => this.moveTo(score))
    this.slider = makeSlider({low: 0, high: 1, step: 0.0005, value: 0}, score => this.setThreshold(score))
    this.slider.className = 'ai-threshold'
    this.slider.setAttribute('aria-label', 'Threshold')
    this.limitBar = this.makeLimitBar()
    this.acts = this.makeActs()
    this.below = make('div', {className: 'ai-grid'})
    this.above = make('div', {className: 'ai-grid'})
    this.elements = [this.makeColumn()]
  }

  makeLimitBar() {
    this.limitText = make('span', {className: 'ai-quiet'})
    this.limit = makeSlider({low: 0.5, high: 0.99, step: 0.01, value: 0.8}, dice => this.setLimit(dice))
    this.limit.setAttribute('aria-label', 'A label with a smaller Dice is bad')
    this.limit.style.width = '120px'
    const space = make('span', {className: 'ai-push'})
    return make('div', {className: 'ai-bar'}, space, this.limitText, this.limit)
  }

  /** What can be done with the threshold: reject what it drops, or take it as the keep_fraction of a run. */
  makeActs() {
    this.reject = make('button', {onclick: () => this.rejectBelow()})
    this.fraction = make('button', {title: 'Copy, for a new run', onclick: () => this.copyFraction()})
    return make('div', {className: 'ai-bar'}, this.reject, this.fraction)
  }

  makeColumn() {
    const {figures, chart, slider, limitBar, acts, below, above} = this
    const strips = [makeStrip('just dropped', below), makeStrip('just kept', above)]
    const strip = make('div', {className: 'ai-strips'}, ...strips)
    return make('div', {className: 'ai-charts'}, figures, chart.element, slider, acts, limitBar, strip)
  }

  showLimit(dice) {
    this.limitText.textContent = `bad: Dice below ${dice.toFixed(2)}`
  }

  setLimit(dice) {
    this.showLimit(dice)
    this.app.kernel.request('statistics', {limit: dice})
  }

  /** Forget the statistics of an earlier round. */
  clear() {
    this.statistics = null
    this.threshold = null
  }

  /** Keep what the kernel computed for all thresholds. */
  setStatistics(statistics) {
    this.statistics = statistics
    this.limit.value = statistics.limit
    this.showLimit(statistics.limit)
    if (this.state.tab === 'selection') this.draw()
  }

  show() {
    if (this.statistics) this.draw()
    else this.app.kernel.request('statistics')
  }

  draw() {
    const {start} = this.state
    const scores = Array.from(start.numbers.score).filter(score => !Number.isNaN(score))
    if (!scores.length) {
      this.figures.replaceChildren(make('span', {textContent: 'No label was scored in this run'}))
      return
    }
    this.chart.draw(scores, this.statistics)
    this.drawFigures()
    this.limitBar.hidden = !start.truth
    const {low, high} = this.chart
    const step = (high - low) / 2000 || 0.001
    Object.assign(this.slider, {min: low, max: high + (high - low) / 1000, step})
    this.threshold ??= thresholdOfRun(start)
    this.moveTo(this.threshold)
  }

  /** Show the numbers that are known: without truth, how many labels are kept and dropped. */
  drawFigures() {
    const shown = Object.entries(FIGURES).filter(([, {colour}]) => this.statistics.known > 0 || !colour)
    const makeFigure = ([name, {text, colour = ''}]) => {
      this.values[name].style.color = colour
      return make('div', {}, this.values[name], make('span', {textContent: text}))
    }
    this.figures.replaceChildren(...shown.map(makeFigure))
  }

  /** Move the slider to a threshold. */
  moveTo(score) {
    this.slider.value = score
    this.setThreshold(score)
  }

  /** Look up what a threshold does, and show it. */
  setThreshold(score) {
    const {statistics, chart, values} = this
    if (!statistics || !chart.line) return
    this.threshold = score
    const n = findThreshold(statistics.threshold, score)
    const {dropped, precision, recall} = statistics
    values.dropped.textContent = dropped[n]
    values.kept.textContent = dropped[dropped.length - 1] - dropped[n]
    values.precision.textContent = formatPercent(precision[n])
    values.recall.textContent = formatPercent(recall[n])
    chart.mark(score)
    this.showActs(dropped[n], dropped[dropped.length - 1])
    this.updates += 1
    this.app.root.dataset.updates = String(this.updates)
    clearTimeout(this.timer)
    this.timer = setTimeout(() => this.drawStrips(), PAUSE)
  }

  showActs(dropped, all) {
    this.reject.textContent = `Reject the ${dropped} below the threshold`
    this.reject.disabled = !dropped || !this.app.decisions.canDecide
    this.option = `-p keep_fraction=${((all - dropped) / all).toFixed(3)}`
    this.fraction.textContent = this.option
  }

  /** Reject all labels below the threshold that were not decided, in one step. */
  rejectBelow() {
    const {start, rows} = this.state
    const {score} = start.numbers
    const below = casesByScore(this.state).filter(k => score[k] < this.threshold - ROUNDING)
    const open = below.filter(k => !rows[k]?.decision)
    if (!open.length) this.app.notices.say('All of them were decided.')
    else this.app.decisions.decideMany(open, 'rejected')
  }

  copyFraction() {
    navigator.clipboard?.writeText(this.option)
    this.app.notices.say(`${this.option} keeps as many labels in each round of a new run; it was copied.`)
  }

  /** Show the labels whose scores are next to the threshold. */
  drawStrips() {
    const {app, state} = this
    if (state.tab !== 'selection') return
    const scores = state.start.numbers.score
    const sorted = casesByScore(state)
    const first = sorted.findIndex(k => scores[k] >= this.threshold - ROUNDING)
    const position = first < 0 ? sorted.length : first
    const lower = sorted.slice(Math.max(0, position - STRIP), position)
    const upper = sorted.slice(position, position + STRIP)
    app.thumbnails.want([...lower, ...upper], state.start.last)
    this.below.replaceChildren(...lower.map(k => app.thumbnails.makeTile(k)))
    this.above.replaceChildren(...upper.map(k => app.thumbnails.makeTile(k)))
  }
}
