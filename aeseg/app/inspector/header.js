// The first line: the run's name, the tabs, how many cases are decided, and how to train on.

import {make} from './dom.js'
import {MARKS} from './state.js'

const EXPLANATION =
  'One more round is trained: rejected labels are left out, accepted and corrected ones count in full. The ' +
  'run then says that human decisions entered it.'

/** The header of one view; `tabs` are the names of the tabs. */
export class Header {
  constructor(app, tabs) {
    this.app = app
    this.tabs = tabs
    this.title = make('div', {className: 'ai-title'})
    this.counts = make('div', {className: 'ai-counts'})
    this.buttons = tabs.map(tab => this.makeTab(tab))
    const tabList = make('div', {className: 'ai-tabs', role: 'tablist'}, ...this.buttons)
    this.train = make('button', {
      textContent: 'Train on…',
      title: 'Train one more round with these decisions',
      onclick: () => this.toggleCommand(),
    })
    const right = make(
      'div',
      {className: 'ai-side'},
      this.counts,
      this.makeAdvance(),
      this.train,
      app.help.button,
    )
    this.element = make('div', {className: 'ai-head'}, this.title, tabList, right)
    this.command = make('div', {className: 'ai-pop', hidden: true})
    this.bar = make('progress', {max: 1, value: 0, hidden: true, 'aria-label': 'Training'})
    this.news = make('p', {className: 'ai-quiet', role: 'status'})
  }

  makeTab(tab) {
    const textContent = tab[0].toUpperCase() + tab.slice(1)
    return make('button', {role: 'tab', textContent, onclick: () => this.app.openTab(tab)})
  }

  /** The switch that opens the next case after a decision. */
  makeAdvance() {
    const {state} = this.app
    const box = make('input', {type: 'checkbox', checked: state.advance})
    box.addEventListener('change', () => (state.advance = box.checked))
    return make('label', {className: 'ai-advance', title: 'Open the next case after a decision'}, box, 'next')
  }

  /** Mark the tab that is open. */
  mark(tab) {
    this.buttons.forEach((button, n) => button.setAttribute('aria-selected', String(this.tabs[n] === tab)))
  }

  /** Show the run's name, its number of cases, and earlier reviews. */
  begin({name, ids, reviewed}) {
    const facts = `${ids.length} cases` + (reviewed ? ` · reviewed: ${reviewed}` : '')
    this.title.replaceChildren(name, make('small', {textContent: facts}))
    this.title.title = this.title.textContent
    this.count()
  }

  /** Count the decisions. */
  count() {
    const {state, root, fillsWindow} = this.app
    const sums = {accepted: 0, rejected: 0, corrected: 0}
    for (const row of Object.values(state.rows)) if (row?.decision) sums[row.decision]++
    const entries = Object.entries(sums)
    const reviewed = entries.reduce((total, [, sum]) => total + sum, 0)
    const progress = `${reviewed} of ${state.start.ids.length} reviewed`
    const makeCount = ([decision, sum]) =>
      make(
        'span',
        {title: decision},
        make('i', {
          className: `ai-${decision}`,
          textContent: MARKS[decision],
          'aria-label': decision,
          role: 'img',
        }),
        String(sum),
      )
    this.counts.replaceChildren(make('b', {textContent: progress}), ...entries.map(makeCount))
    root.dataset.decided = JSON.stringify(sums)
    this.train.disabled = !reviewed || !state.start.writable
    if (fillsWindow) document.title = `${state.start.name} · ${progress}`
  }

  toggleCommand() {
    const {command} = this
    command.hidden = !command.hidden
    this.app.help.hide()
    if (command.hidden) return
    const text = make('pre', {textContent: this.app.state.start.command})
    const begin = {className: 'primary', textContent: 'Train now', onclick: () => this.begunTraining()}
    const buttons = make('div', {className: 'ai-bar'}, make('button', begin))
    buttons.append(make('button', {textContent: 'Copy the command', onclick: event => this.copy(event)}))
    command.replaceChildren(make('p', {textContent: EXPLANATION}), text, buttons, this.bar, this.news)
  }

  begunTraining() {
    this.app.kernel.request('train')
  }

  /** Show how far the further round is; null: it failed. */
  showTraining(text, done) {
    this.bar.hidden = done === null
    this.bar.value = done ?? 0
    this.news.textContent = text
    this.app.root.dataset.training = done === null ? 'failed' : text
  }

  copy(event) {
    navigator.clipboard?.writeText(this.app.state.start.command)
    event.target.textContent = 'Copied'
  }

  hideCommand() {
    this.command.hidden = true
  }
}
