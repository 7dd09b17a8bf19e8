// Drawing on a canvas whose unit is a pixel of the image. `scale` is CSS pixels per pixel of the image.

import {make} from './dom.js'
import {handlesOf} from './ellipse.js'

const FLAT = 0.02 // a smaller range of values is no picture
const PROPOSAL = {colour: '#fff', opacity: 0.8, dash: [6, 4]}
const HANDLE = {colour: '#8250df', radius: 5.5}

/** Draw the image, in its own resolution where that came; large pixels stay sharp. */
export function paintImage(context, {bitmap, whole, shape}, {contrast, brightness}, scale) {
  if (!bitmap) return
  const changed = contrast !== 1 || brightness !== 1
  context.filter = changed ? `brightness(${brightness}) contrast(${contrast})` : 'none'
  context.imageSmoothingEnabled = scale < 6
  context.drawImage(whole ?? bitmap, 0, 0, shape[1], shape[0])
  context.filter = 'none'
}

/** The least and the largest value of a heat map, in [0, 1]. */
export function rangeOf({values}) {
  let [low, high] = [255, 0]
  for (const value of values) {
    if (value < low) low = value
    if (value > high) high = value
  }
  return [low / 255, high / 255]
}

/** A heat map as a picture of one colour, opaque at the largest value and clear at the least one. */
function tint({shape, values, range}, colour) {
  const [height, width] = shape
  const [low, high] = range.map(value => 255 * value)
  const picture = new ImageData(width, height)
  const rgb = Uint8ClampedArray.from([1, 3, 5], k => parseInt(colour.slice(k, k + 2), 16))
  for (let n = 0; n < values.length; n++) {
    picture.data.set(rgb, 4 * n)
    picture.data[4 * n + 3] = (255 * (values[n] - low)) / (high - low)
  }
  const canvas = make('canvas', {width, height})
  canvas.getContext('2d').putImageData(picture, 0, 0)
  return canvas
}

/** Draw a heat map over an image of a size (height, width). */
export function paintHeatMap(context, heat, {colour, opacity}, shape) {
  if (heat.range[1] - heat.range[0] < FLAT) return // a veil of one value shows nothing; the legend says it
  heat.canvas ??= tint(heat, colour)
  context.globalAlpha = opacity
  context.imageSmoothingEnabled = true
  context.drawImage(heat.canvas, 0, 0, shape[1], shape[0])
}

/** Draw an outline with a dark rim, and fill it a little. */
export function paintOutline(context, path, {colour, opacity, dash = []}, scale) {
  const lineOpacity = Math.min(1, opacity * 1.7)
  context.globalAlpha = 0.22 * opacity
  context.fillStyle = colour
  context.fill(path, 'evenodd')
  context.lineJoin = 'round'
  context.globalAlpha = 0.5 * lineOpacity
  context.strokeStyle = '#000'
  context.lineWidth = 3.6 / scale
  context.stroke(path)
  context.globalAlpha = lineOpacity
  context.strokeStyle = colour
  context.lineWidth = 1.8 / scale
  context.setLineDash(dash.map(length => length / scale))
  context.stroke(path)
  context.setLineDash([])
}

/** Draw a mask that is painted on, and the corners of a polygon that is not closed. */
export function paintMask(context, {painted, corners}, shape, scale) {
  context.globalAlpha = 1
  context.imageSmoothingEnabled = false
  context.drawImage(painted.canvas, 0, 0, shape[1], shape[0])
  if (!corners.length) return
  const places = corners.map(([x, y]) => [
    (x * shape[1]) / painted.shape[1],
    (y * shape[0]) / painted.shape[0],
  ])
  const path = new Path2D('M' + places.map(place => place.join(' ')).join('L'))
  paintOutline(context, path, PROPOSAL, scale)
  for (const [x, y] of places) paintHandle(context, x, y, scale)
}

function paintHandle(context, x, y, scale) {
  context.globalAlpha = 1
  context.fillStyle = '#fff'
  context.beginPath()
  context.arc(x, y, HANDLE.radius / scale, 0, 2 * Math.PI)
  context.fill()
  context.strokeStyle = HANDLE.colour
  context.lineWidth = 2 / scale
  context.stroke()
}

/** Draw a correction that is proposed: an outline, or an ellipse with its handles. */
export function paintProposal(context, {ellipse, path}, scale) {
  if (!ellipse) {
    paintOutline(context, new Path2D(path), PROPOSAL, scale)
    return
  }
  const curve = new Path2D()
  curve.ellipse(ellipse.x, ellipse.y, ellipse.a, ellipse.b, (ellipse.angle * Math.PI) / 180, 0, 2 * Math.PI)
  paintOutline(context, curve, PROPOSAL, scale)
  for (const [x, y] of handlesOf(ellipse)) paintHandle(context, x, y, scale)
}
