// Elements, bytes and numbers: what every other module uses.

const SVG = 'http://www.w3.org/2000/svg'

/** Set a listener (names that begin with "on"), a property or an attribute of an element. */
function setAttribute(element, name, value) {
  if (name.startsWith('on')) element.addEventListener(name.slice(2), value)
  else if (name in element) element[name] = value
  else element.setAttribute(name, value)
}

/** Create an HTML element with its attributes and children. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) setAttribute(element, name, value)
  element.append(...children)
  return element
}

/** Create an SVG element. */
export function makeSvg(tag, attributes) {
  const element = document.createElementNS(SVG, tag)
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value)
  return element
}

/** Create a slider that calls `use` with its value while it moves. */
export function makeSlider({low, high, step, value}, use) {
  const oninput = event => use(Number(event.target.value))
  return make('input', {type: 'range', min: low, max: high, step, value, oninput})
}

/** The bytes of a message's buffer, as an ArrayBuffer. */
export function toBuffer(data) {
  if (!(data instanceof DataView)) return data
  return data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength)
}

/** A number with fixed digits; a dash where it is unknown. */
export function formatNumber(value, digits = 3) {
  return value === null || value === undefined || Number.isNaN(value) ? '–' : value.toFixed(digits)
}

/** Give a canvas as many pixels as the screen has for it; returns pixels of the screen per CSS pixel. */
export function resizeCanvas(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1
  const [columns, rows] = [Math.round(width * ratio), Math.round(height * ratio)]
  if (canvas.width !== columns || canvas.height !== rows) {
    canvas.width = columns
    canvas.height = rows
  }
  return ratio
}
