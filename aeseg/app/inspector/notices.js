// Sentences for the user: what the run folder lacks, and messages that disappear after some seconds.

import {make} from './dom.js'

const SHOWN = 5000 // milliseconds

/** The notices of one view. */
export class Notices {
  constructor() {
    this.problems = make('details', {className: 'ai-notes', hidden: true})
    this.toast = make('div', {className: 'ai-toast', hidden: true, role: 'status'})
  }

  /** List what the run folder lacks. */
  begin({problems}) {
    const single = problems.length === 1
    const textContent = single ? 'Something is missing' : `${problems.length} things are missing`
    const items = problems.map(problem => make('li', {textContent: problem}))
    this.problems.hidden = !problems.length
    this.problems.open = single
    this.problems.replaceChildren(make('summary', {textContent}), make('ul', {}, ...items))
  }

  /** Show a sentence for some seconds. */
  say(text) {
    this.toast.textContent = text
    this.toast.hidden = false
    clearTimeout(this.timer)
    this.timer = setTimeout(() => (this.toast.hidden = true), SHOWN)
  }
}
