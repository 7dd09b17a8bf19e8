// What the parts of one view share. Each part keeps what concerns only itself.

/** Layers over an image: outlines of masks, and heat maps, which have a value at each pixel. */
const LAYERS = [
  {name: 'label', title: 'label', colour: '#ffd60a', on: true, opacity: 0.6},
  {name: 'corrected', title: 'corrected', colour: '#b388ff', on: true, opacity: 0.6},
  {name: 'prediction', title: 'prediction', colour: '#2ee6a8', on: false, opacity: 0.6},
  {name: 'truth', title: 'truth', colour: '#56b4e9', on: false, opacity: 0.6},
  {name: 'weights', title: 'weights', colour: '#ff7ad9', on: false, opacity: 0.6, heat: true},
  {name: 'uncertainty', title: 'uncertainty', colour: '#ff9f43', on: false, opacity: 0.7, heat: true},
  {name: 'reconstruction', title: 'VAE', colour: '#c4b5fd', on: false, opacity: 0.6, heat: true},
]

export const FINAL = -1 // stands for the round of the final masks
export const MARKS = {accepted: '✓', rejected: '✕', corrected: '✎'}

/** The name of a round; labels of the first one are those of E, refined, where E's own labels were kept. */
export function nameOfRound(round, rounds) {
  if (round === FINAL) return 'final'
  if (round === 0) return 'E'
  return round === 1 && rounds.includes(0) ? 'refined' : `round ${round}`
}

/** The state of a new view. Cases are numbers: positions in `start.ids`. */
export function createState() {
  return {
    start: null, // the kernel's first reply: ids, numbers of all cases, rounds, …
    rows: {}, // decisions and notes by case
    order: [], // cases that pass the filter, sorted
    sort: 'score',
    filter: 'all',
    tag: null, // a tag that notes must hold
    search: '', // letters that ids must hold
    advance: true, // whether the next case is opened after a decision
    worstFirst: true,
    page: 0,
    pageSize: 12,
    columns: 4,
    tab: 'gallery',
    open: null, // the open case
    round: 0, // whose label is drawn
    contrast: 1,
    brightness: 1,
    proposal: null, // a correction of the open case that is shown and not yet applied
    layers: LAYERS.map(layer => ({...layer})),
  }
}

/** The cases on the current page. */
export function casesOfPage(state) {
  return Array.from(state.order.slice(state.page * state.pageSize, (state.page + 1) * state.pageSize))
}

/** Cases whose score is known, the lowest score first. */
export function casesByScore(state) {
  const scores = state.start.numbers.score
  const known = Array.from(scores.keys()).filter(k => !Number.isNaN(scores[k]))
  return known.sort((a, b) => scores[a] - scores[b])
}
