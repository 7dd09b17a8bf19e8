// The overview: the labels of the page round by round, above the latent space.

import {make} from './dom.js'
import {FINAL, nameOfRound} from './state.js'

const COLUMNS = 6 // labels in a row

/** The tab with the overview. */
export class Overview {
  constructor(app) {
    this.app = app
    this.mosaic = make('div', {className: 'ai-mosaic'})
    this.elements = [make('div', {className: 'ai-charts'}, this.mosaic, ...app.scatter.elements)]
  }

  show() {
    this.drawMosaic()
    this.app.scatter.show()
  }

  drawMosaic() {
    const {state, thumbnails} = this.app
    const first = state.page * state.pageSize
    const cases = Array.from(state.order.slice(first, first + COLUMNS))
    const {rounds, predictions} = state.start
    const rows = predictions ? [...rounds, FINAL] : rounds
    this.mosaic.style.gridTemplateColumns = `96px repeat(${cases.length || 1},minmax(0,1fr))`
    for (const round of rows) thumbnails.want(cases, round)
    this.mosaic.replaceChildren(...rows.flatMap(round => this.makeRow(cases, round)))
  }

  makeRow(cases, round) {
    const tiles = cases.map(k => this.app.thumbnails.makeTile(k, round, false))
    return [
      make('div', {className: 'ai-quiet', textContent: nameOfRound(round, this.app.state.start.rounds)}),
      ...tiles,
    ]
  }
}
