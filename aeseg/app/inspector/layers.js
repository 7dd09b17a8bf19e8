// The list of layers: a click switches one, a slider sets its opacity.

import {make, makeSlider} from './dom.js'

/** Whether a case has something to show in a layer; heat maps that did not come yet count as present. */
function hasLayer(opened, layer) {
  if (!opened) return false
  if (layer.heat && !opened.heatMaps) return true
  const entries = layer.heat ? opened.heatMaps : opened.outlines
  return Object.keys(entries).some(name => name.startsWith(layer.name + '/'))
}

/** The list of layers of one view. */
export class Layers {
  constructor(app) {
    this.app = app
    this.element = make('div', {className: 'ai-layers'})
  }

  /** Show or hide a layer, given by its position in the list. */
  toggle(n) {
    const layer = this.app.state.layers[n]
    if (!layer) return
    layer.on = !layer.on
    if (layer.on && layer.heat) this.app.cases.wantHeatMaps()
    this.app.canvas.draw()
    this.draw()
  }

  draw() {
    const {opened} = this.app.cases
    const entries = this.app.state.layers.map((layer, n) => this.makeEntry(layer, n, hasLayer(opened, layer)))
    this.element.replaceChildren(...entries)
  }

  makeEntry(layer, n, present) {
    const hint = present ? `click to switch (key ${n + 1})` : 'not in this run'
    const attributes = {
      className: 'ai-layer' + (layer.on ? ' on' : '') + (present ? '' : ' none'),
      title: `${layer.title}: ${hint}`,
      role: 'checkbox',
      ariaChecked: String(layer.on),
      onclick: event => event.target.tagName !== 'INPUT' && this.toggle(n),
    }
    const name = make('span', {textContent: layer.title})
    const entry = make('div', attributes, make('i'), name, this.makeOpacity(layer))
    entry.style.setProperty('--c', layer.colour)
    entry.dataset.layer = layer.name
    return entry
  }

  makeOpacity(layer) {
    return makeSlider({low: 0, high: 1, step: 0.02, value: layer.opacity}, opacity => {
      layer.opacity = opacity
      this.app.canvas.draw()
    })
  }
}
