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
    this.legend = make('div', {className: 'ai-legend', role: 'status'})
    this.element = make(
      'div',
      {className: 'ai-layers', role: 'group', 'aria-label': 'Layers'},
      ...this.entries,
    )
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
    this.drawLegend(opened)
  }

  /** Say what the colours of heat maps mean, and why one shows nothing. */
  drawLegend(opened) {
    const shown = this.app.state.layers.filter(layer => layer.on && layer.heat)
    this.legend.replaceChildren(...(opened ? shown.map(layer => this.makeLegend(opened, layer)) : []))
  }

  makeLegend(opened, layer) {
    const map = this.app.canvas.entryOf(opened.heatMaps, layer)
    if (!opened.heatMaps) return make('span', {textContent: `${layer.title}: the networks are evaluated …`})
    if (!map) return make('span', {textContent: `${layer.title}: none for this label`})
    const [low, high] = map.range.map(value => value.toFixed(2))
    if (low === high) {
      const reason = layer.name === 'weights' && high === '0.00' ? ', dropped by the selection' : ''
      return make('span', {textContent: `${layer.title}: ${high} everywhere${reason}`})
    }
    const ramp = make('i', {className: 'ai-ramp'})
    ramp.style.setProperty('--c', layer.colour)
    return make('span', {}, `${layer.title}: ${low}`, ramp, high)
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
    entry.classList.toggle('on', layer.on)
    entry.classList.toggle('none', !present)
    entry.classList.toggle('loading', isLoading)
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
