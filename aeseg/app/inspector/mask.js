// Masks as bytes of 0 and 1, row by row, and what a tool changes in them. Points are (x, y) in pixels, boxes
// [top, left, bottom, right] without their last row and column.

/** The mask whose runs of equal pixels are given; the first run is outside. */
export function decodeRuns(runs, pixels) {
  const mask = new Uint8Array(pixels)
  let start = 0
  for (const [n, length] of runs.entries()) {
    if (n % 2) mask.fill(1, start, start + length)
    start += length
  }
  return mask
}

/** The lengths of runs of equal pixels; the first run is outside and may be 0 pixels long. */
export function encodeRuns(mask) {
  const runs = []
  let [start, value] = [0, 0]
  for (let n = 0; n < mask.length; n++) {
    if (mask[n] === value) continue
    runs.push(n - start)
    start = n
    value = mask[n]
  }
  runs.push(mask.length - start)
  return Uint32Array.from(runs)
}

/** A box that holds points with a margin, cut at the edges of the image. */
function boxAround(points, margin, [height, width]) {
  const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)]
  return [
    Math.max(0, Math.floor(Math.min(...ys) - margin)),
    Math.max(0, Math.floor(Math.min(...xs) - margin)),
    Math.min(height, Math.ceil(Math.max(...ys) + margin)),
    Math.min(width, Math.ceil(Math.max(...xs) + margin)),
  ]
}

/** Set pixels whose centres are not farther than a radius from a line; returns their box. */
export function paintLine(mask, shape, from, to, radius, value) {
  const box = boxAround([from, to], radius, shape)
  const [dx, dy] = [to[0] - from[0], to[1] - from[1]]
  const length = dx * dx + dy * dy
  for (let row = box[0]; row < box[2]; row++) {
    for (let column = box[1]; column < box[3]; column++) {
      const [x, y] = [column + 0.5 - from[0], row + 0.5 - from[1]]
      const along = length ? Math.min(1, Math.max(0, (x * dx + y * dy) / length)) : 0
      const distance = (x - along * dx) ** 2 + (y - along * dy) ** 2
      if (distance <= radius * radius) mask[row * shape[1] + column] = value
    }
  }
  return box
}

/** Where the edges of a polygon cross a row, sorted. */
function crossings(points, y) {
  const xs = []
  for (const [n, [x1, y1]] of points.entries()) {
    const [x2, y2] = points[(n + 1) % points.length]
    if (y1 > y !== y2 > y) xs.push(x1 + ((y - y1) * (x2 - x1)) / (y2 - y1))
  }
  return xs.sort((a, b) => a - b)
}

/** Set pixels whose centres lie in a polygon; returns their box. */
export function fillPolygon(mask, shape, points, value) {
  const box = boxAround(points, 0, shape)
  for (let row = box[0]; row < box[2]; row++) {
    const xs = crossings(points, row + 0.5)
    for (let n = 0; n + 1 < xs.length; n += 2) {
      const first = Math.max(0, Math.ceil(xs[n] - 0.5))
      const end = Math.min(shape[1], Math.ceil(xs[n + 1] - 0.5))
      if (end > first) mask.fill(value, row * shape[1] + first, row * shape[1] + end)
    }
  }
  return box
}

/** The pixels that are connected to one and equal to it: {pixels, box, open}; open ones reach the edge. */
export function findRegion(mask, [height, width], x, y) {
  const start = Math.floor(y) * width + Math.floor(x)
  const value = mask[start]
  const seen = new Uint8Array(mask.length)
  const pixels = [start]
  const box = [height, width, 0, 0]
  let open = false
  seen[start] = 1
  for (let n = 0; n < pixels.length; n++) {
    const pixel = pixels[n]
    const [row, column] = [Math.floor(pixel / width), pixel % width]
    box[0] = Math.min(box[0], row)
    box[1] = Math.min(box[1], column)
    box[2] = Math.max(box[2], row + 1)
    box[3] = Math.max(box[3], column + 1)
    if (row === 0 || column === 0 || row === height - 1 || column === width - 1) open = true
    if (column > 0) visit(pixel - 1)
    if (column < width - 1) visit(pixel + 1)
    if (row > 0) visit(pixel - width)
    if (row < height - 1) visit(pixel + width)
  }
  return {pixels, box, open}

  function visit(pixel) {
    if (seen[pixel] || mask[pixel] !== value) return
    seen[pixel] = 1
    pixels.push(pixel)
  }
}

/** The rows of a mask inside a box. */
export function copyBox(mask, width, [top, left, bottom, right]) {
  const rows = []
  for (let row = top; row < bottom; row++) rows.push(mask.slice(row * width + left, row * width + right))
  return rows
}

/** Put rows back that `copyBox` took. */
export function pasteBox(mask, width, [top, left], rows) {
  for (const [n, row] of rows.entries()) mask.set(row, (top + n) * width + left)
}

/** The smallest box around two; either may be null. */
export function joinBoxes(a, b) {
  if (!a || !b) return a ?? b
  return [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[2], b[2]), Math.max(a[3], b[3])]
}
