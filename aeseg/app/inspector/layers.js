// The list of layers: a click or its key switches one, a slider sets its opacity.

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
    this.entries = app.state.layers.map((layer, n) => this.makeEntry(layer, n))
    this.element = make('div', {className: 'ai-layers', role: 'group', 'aria-label': 'Layers'}, ...this.entries)
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
    for (const [n, layer] of this.app.state.layers.entries()) {
      this.updateEntry(this.entries[n], layer, n, hasLayer(opened, layer))
    }
  }

  makeEntry(layer, n) {
    const name = make('span', {textContent: layer.title})
    const attributes = {className: 'ai-switch', role: 'checkbox', onclick: () => this.toggle(n)}
    const entry = make('div', {className: 'ai-layer'}, make('button', attributes, make('i'), name))
    entry.append(this.makeOpacity(layer))
    entry.style.setProperty('--c', layer.colour)
    entry.dataset.layer = layer.name
    return entry
  }

  updateEntry(entry, layer, n, present) {
    const toggle = entry.firstChild
    const hint = present ? `click to switch (key ${n + 1})` : 'nothing to show for this case'
    const isLoading = Boolean(layer.on && layer.heat && present && !this.app.cases.opened?.heatMaps)
    entry.className = `ai-layer${layer.on ? ' on' : ''}${present ? '' : ' none'}${isLoading ? ' loading' : ''}`
    entry.title = `${layer.title}: ${hint}`
    toggle.setAttribute('aria-checked', String(layer.on))
    toggle.setAttribute('aria-label', layer.title)
    toggle.disabled = !present
  }

  makeOpacity(layer) {
    const slider = makeSlider({low: 0, high: 1, step: 0.02, value: layer.opacity}, opacity => {
      layer.opacity = opacity
      this.app.canvas.draw()
    })
    slider.setAttribute('aria-label', `Opacity of ${layer.title}`)
    return slider
  }
}
