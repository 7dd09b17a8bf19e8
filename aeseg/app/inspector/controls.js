// Sliders below the picture: the round whose label is drawn, contrast, brightness.

import {make, makeSlider} from './dom.js'

const FACTOR = {low: 0.2, high: 3, step: 0.05, value: 1} // of contrast and brightness

/** The sliders of one view. */
export class Controls {
  constructor(app) {
    this.app = app
    this.name = make('b')
    this.round = makeSlider({low: 0, high: 1, step: 1, value: 0}, n =>
      this.set('round', app.state.start.rounds[n]),
    )
    this.round.className = 'ai-round'
    this.round.setAttribute('aria-label', 'Round')
    const hint = 'How the label changed from round to round'
    this.element = make(
      'div',
      {className: 'ai-knobs'},
      make('label', {title: hint}, 'round', this.round, this.name),
      this.makeFactor('contrast'),
      this.makeFactor('brightness'),
    )
  }

  makeFactor(name) {
    const slider = makeSlider(FACTOR, value => this.set(name, value))
    slider.setAttribute('aria-label', name)
    return make('label', {}, name, slider)
  }

  set(name, value) {
    const {state, canvas} = this.app
    state[name] = value
    this.name.textContent = state.round ? String(state.round) : 'E' // round 0: labels of the GAN's network E
    canvas.draw()
    if (name === 'round') this.app.strip.forget()
  }

  /** Draw the label of a round. */
  show(round) {
    this.round.value = this.app.state.start.rounds.indexOf(round)
    this.set('round', round)
  }

  /** Show the rounds of the run, the last one first. */
  begin({rounds, last}) {
    this.round.max = rounds.length - 1
    this.round.value = rounds.indexOf(last)
    this.round.disabled = rounds.length < 2
    this.set('round', last)
  }
}
