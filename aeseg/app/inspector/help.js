// The help: keys, and what each number means.

import {make} from './dom.js'
import {KEYS, MEANINGS} from './words.js'

function makeList(entries, tag) {
  const makeTerm = name => make('dt', {}, make(tag, {textContent: name}))
  return make(
    'dl',
    {},
    ...entries.flatMap(([name, text]) => [makeTerm(name), make('dd', {textContent: text})]),
  )
}

/** The help of one view. */
export class Help {
  constructor(app) {
    this.app = app
    this.button = make('button', {
      textContent: '?',
      title: 'Keys and numbers (?)',
      onclick: () => this.toggle(),
    })
    this.button.setAttribute('aria-label', 'Help')
    this.element = make(
      'div',
      {className: 'ai-pop ai-help', hidden: true, role: 'dialog', 'aria-label': 'Help', tabIndex: 0},
      make('h4', {textContent: 'Keys'}),
      makeList(KEYS, 'kbd'),
      make('h4', {textContent: 'Numbers'}),
      makeList(Object.entries(MEANINGS), 'b'),
      make('p', {textContent: 'Tags are words of a note that begin with #, such as #artefact.'}),
    )
  }

  toggle() {
    this.element.hidden = !this.element.hidden
    this.app.header.hideCommand()
  }

  hide() {
    this.element.hidden = true
  }
}
