// The first line: the run's name, the tabs, how many cases are decided, and the command that trains on.

import {make} from './dom.js'

const EXPLANATION =
  'This command trains one more round: rejected labels are left out, accepted and corrected ones count in ' +
  'full. The run then says that human decisions entered it.'

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
      title: 'The command that trains one more round with these decisions',
      onclick: () => this.toggleCommand(),
    })
    this.element = make('div', {className: 'ai-head'}, this.title, tabList, this.counts, this.train)
    this.command = make('div', {className: 'ai-pop', hidden: true})
  }

  makeTab(tab) {
    const textContent = tab[0].toUpperCase() + tab.slice(1)
    return make('button', {role: 'tab', textContent, onclick: () => this.app.openTab(tab)})
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
    const {state, root} = this.app
    const sums = {accepted: 0, rejected: 0, corrected: 0}
    for (const row of Object.values(state.rows)) if (row?.decision) sums[row.decision]++
    const entries = Object.entries(sums)
    const makeCount = ([decision, sum]) =>
      make('span', {title: decision}, make('i', {className: `ai-${decision}`}), String(sum))
    this.counts.replaceChildren(...entries.map(makeCount))
    root.dataset.decided = JSON.stringify(sums)
    this.train.disabled = entries.every(([, sum]) => !sum)
  }

  toggleCommand() {
    const {command} = this
    command.hidden = !command.hidden
    if (command.hidden) return
    const text = make('pre', {textContent: this.app.state.start.command})
    const copy = make('button', {
      className: 'primary',
      textContent: 'Copy',
      onclick: event => this.copy(event),
    })
    command.replaceChildren(make('p', {textContent: EXPLANATION}), text, copy)
  }

  copy(event) {
    navigator.clipboard?.writeText(this.app.state.start.command)
    event.target.textContent = 'Copied'
  }

  hideCommand() {
    this.command.hidden = true
  }
}
