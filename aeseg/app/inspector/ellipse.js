// Ellipses that are changed by hand: centre x and y, half axes a and b in pixels, angle of a in degrees.

const SHORTEST = 2 // pixels of a half axis, at least

/** The points at which an ellipse is held: its centre and the ends of its axes. */
export function handlesOf({x, y, a, b, angle}) {
  const radians = (angle * Math.PI) / 180
  const [cos, sin] = [Math.cos(radians), Math.sin(radians)]
  return [
    [x, y],
    [x + cos * a, y + sin * a],
    [x - sin * b, y + cos * b],
    [x - cos * a, y - sin * a],
    [x + sin * b, y - cos * b],
  ]
}

/** Change an ellipse so that a handle comes to a point: the centre moves it, an axis turns and scales it. */
export function moveHandle(ellipse, handle, x, y) {
  if (handle === 0) {
    Object.assign(ellipse, {x, y})
    return
  }
  const [dx, dy] = [x - ellipse.x, y - ellipse.y]
  const length = Math.max(SHORTEST, Math.hypot(dx, dy))
  const angle = (Math.atan2(dy, dx) * 180) / Math.PI
  if (handle % 2) Object.assign(ellipse, {a: length, angle: angle + (handle === 3 ? 180 : 0)})
  else Object.assign(ellipse, {b: length, angle: angle + (handle === 2 ? -90 : 90)})
}
