// The cases that the kernel sent: image, outlines, heat maps, numbers. The neighbours of the open case are
// requested early.

const KEPT = 24 // cases in the browser's memory
const PAUSE = 250 // milliseconds that a case stays open before its heat maps are requested

/** The cases of one view. */
export class Cases {
  constructor(app) {
    this.app = app
    this.loaded = new Map()
    this.requested = new Set()
  }

  /** Request a case that is neither here nor on its way. */
  want(k) {
    if (k === undefined || k === null || this.loaded.has(k) || this.requested.has(k)) return
    this.requested.add(k)
    this.app.kernel.request('case', {k})
  }

  get(k) {
    return this.loaded.get(k)
  }

  /** The open case; undefined where it did not come yet. */
  get opened() {
    return this.loaded.get(this.app.state.open)
  }

  /** Keep a case, and forget those that were loaded first. */
  add(k, values) {
    const {loaded} = this
    loaded.set(k, {...values, heatMaps: null})
    this.requested.delete(k)
    while (loaded.size > KEPT) loaded.delete([...loaded.keys()].find(other => other !== this.app.state.open))
  }

  forget(k) {
    this.loaded.delete(k)
    this.requested.delete(k)
  }

  clear() {
    this.loaded.clear()
    this.requested.clear()
  }

  /** Request the open case's image in its own resolution, where that is larger. */
  wantPicture() {
    const {opened} = this
    if (!opened?.bitmap || opened.wholeRequested || opened.full[1] <= opened.shape[1]) return
    opened.wholeRequested = true
    this.app.kernel.request('picture', {k: this.app.state.open})
  }

  /** Drop the large picture of a case that is left. */
  dropPicture(k) {
    const left = this.loaded.get(k)
    left?.whole?.close()
    if (left) Object.assign(left, {whole: null, wholeRequested: false})
  }

  /** Request the cases before and after one. */
  wantNeighbours(k) {
    const {order} = this.app.state
    const position = order.indexOf(k)
    this.want(order[position + 1])
    this.want(order[position - 1])
  }

  /** Request the heat maps of the open case; networks take longer than files. */
  wantHeatMaps() {
    const {opened} = this
    if (!opened || opened.heatMaps || opened.heatMapsRequested) return
    opened.heatMapsRequested = true
    this.app.kernel.request('heat_maps', {k: this.app.state.open})
  }

  /** Request heat maps at once where one is shown, otherwise when the case stays open. */
  wantHeatMapsSoon() {
    const shown = this.app.state.layers.some(layer => layer.on && layer.heat)
    clearTimeout(this.timer)
    this.timer = setTimeout(() => this.wantHeatMaps(), shown ? 0 : PAUSE)
  }
}
