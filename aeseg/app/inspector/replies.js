// What happens when the kernel replies: one function for each reply, which hands its values to the parts of
// the view.

import {toBuffer} from './dom.js'
import {rangeOf} from './painting.js'

/** How many characters all (sorted) names begin with, up to and with the last separator among them. */
function commonPrefix(ids) {
  const [first, last] = [ids[0] ?? '', ids[ids.length - 1] ?? '']
  let same = 0
  while (ids.length > 1 && same < first.length && first[same] === last[same]) same++
  const separators = ['_', '-', ' ', '.'].map(c => first.slice(0, same).lastIndexOf(c))
  return 1 + Math.max(-1, ...separators)
}

/** The columns of a table that was sent as one buffer. */
function splitColumns(names, buffer, length) {
  const values = new Float32Array(toBuffer(buffer))
  return Object.fromEntries(names.map((name, n) => [name, values.subarray(n * length, (n + 1) * length)]))
}

/** The run: names, numbers and decisions of all cases. */
function start(app, message, [columns, kept, order, why]) {
  app.state.start = {
    ...message,
    numbers: splitColumns(message.columns, columns, message.ids.length),
    kept: new Uint8Array(toBuffer(kept)),
    why: new Int8Array(toBuffer(why)),
    prefix: commonPrefix(message.ids),
  }
  const isFirst = app.root.dataset.open === undefined
  app.state.rows = Object.fromEntries(message.rows.map(row => [row.k, row]))
  app.kernel.sendAgain(message.folder)
  if (!isFirst) {
    showAgain(app)
    return
  }
  for (const part of [app.notices, app.header, app.controls, app.decisions]) part.begin(message)
  app.gallery.begin(message)
  app.openTab('gallery')
  const cases = new Int32Array(toBuffer(order))
  const earlier = message.ids.indexOf(app.place.read().id)
  if (!app.gallery.returning) app.gallery.setOrder(cases)
  app.panel.open(earlier < 0 ? cases[0] : earlier)
  if (app.gallery.returning) app.gallery.reorder({})
  else app.gallery.turnTo(app.state.open)
}

/** Draw again what may have changed while there was no connection. */
function showAgain(app) {
  app.header.count()
  app.panel.show()
  if (app.state.tab === 'overview') app.overview.show()
  if (app.state.tab === 'gallery') app.gallery.draw()
}

/** An order of cases, unless another one was requested since. */
function order({gallery, state}, message, [buffer]) {
  const {sort, show, worst_first: worstFirst} = message
  if (sort !== state.sort || show !== state.filter || worstFirst !== state.worstFirst) return
  gallery.setOrder(new Int32Array(toBuffer(buffer)))
}

/** New numbers of all cases. */
function numbers({state, cases, gallery}, message, [buffer, why]) {
  Object.assign(state.start.numbers, splitColumns(message.columns, buffer, state.start.ids.length))
  state.start.why = new Int8Array(toBuffer(why))
  cases.clear()
  cases.want(state.open)
  gallery.draw()
}

function thumbs(app, {items, round}, buffers) {
  items.forEach((item, n) => app.thumbnails.add(item, round, toBuffer(buffers[n])))
  const cases = items.map(item => item.k)
  app.gallery.update(cases)
  app.strip.update(cases, round)
}

/** A case; its image is a PNG, or no bytes where it is missing. */
async function receiveCase(app, {k, shape, full, outlines, numbers: facts}, [buffer]) {
  const data = toBuffer(buffer)
  const bitmap = data.byteLength ? await createImageBitmap(new Blob([data], {type: 'image/png'})) : null
  app.cases.add(k, {shape, full, outlines, numbers: facts, bitmap})
  if (k !== app.state.open) return
  app.canvas.draw()
  app.panel.show()
  app.cases.wantHeatMapsSoon()
}

function heatMaps(app, {k, maps}, buffers) {
  const received = app.cases.get(k)
  if (!received) return
  received.heatMaps = {}
  for (const [n, [name, shape]] of maps.entries()) {
    const map = {shape, values: new Uint8Array(toBuffer(buffers[n]))}
    received.heatMaps[name] = {...map, range: rangeOf(map)}
  }
  if (k !== app.state.open) return
  app.canvas.draw()
  app.layers.draw()
}

/** Load again what shows a label that was corrected, or whose correction was taken back. */
function reload({state, cases, thumbnails, strip}, k) {
  cases.forget(k)
  thumbnails.forget(k, state.start.last)
  thumbnails.want([k], state.start.last)
  if (k === state.open) cases.want(k)
  strip.forget()
}

/** Decisions that changed; after undo, the case that it concerns is opened. */
function rows(app, message) {
  const {state, root} = app
  for (const row of message.rows) {
    if (row.decision === undefined) delete state.rows[row.k]
    else state.rows[row.k] = row
  }
  for (const row of message.rows) if (row.stale) reload(app, row.k)
  app.header.count()
  app.gallery.showTags()
  app.thumbnails.refresh(message.rows.map(row => row.k))
  if (message.open !== undefined && message.open !== state.open) app.panel.open(message.open)
  app.panel.show()
  if (state.tab === 'overview') app.scatter.draw()
  root.dataset.saved = String(Number(root.dataset.saved ?? 0) + 1)
}

/** What a correction would do. */
function proposal(app, message) {
  if (message.k !== app.state.open) return
  app.state.proposal = message
  app.canvas.draw()
  app.panel.show()
}

/** The label, to paint on. */
function mask({editor}, {k, shape}, [buffer]) {
  editor.begin(k, shape, new Uint32Array(toBuffer(buffer)))
}

/** An image in its own resolution. */
async function picture({cases, canvas, state}, {k}, [buffer]) {
  const whole = await createImageBitmap(new Blob([toBuffer(buffer)], {type: 'image/png'}))
  if (k !== state.open || !cases.opened) return
  cases.opened.whole = whole
  canvas.draw()
}

function statistics(app, {known, limit}, buffers) {
  const [threshold, precision, recall] = buffers.slice(0, 3).map(buffer => new Float32Array(toBuffer(buffer)))
  const dropped = new Int32Array(toBuffer(buffers[3]))
  app.selection.setStatistics({known, limit, threshold, precision, recall, dropped})
}

function latent(app, {known}, [buffer]) {
  app.scatter.setPoints(known ? new Float32Array(toBuffer(buffer)) : null)
}

function progress(app, {text, done}) {
  app.notices.say(`${text} ${Math.round(100 * done)} %`)
}

function error(app, {text}) {
  app.notices.say(text)
}

function training(app, {text, done}) {
  app.header.showTraining(text, done)
}

/** A further round was trained: everything is loaded again. */
function trained(app, {round}) {
  app.header.showTraining(`Round ${round} is trained; its labels are shown now.`, 1)
  delete app.root.dataset.open
  for (const part of [app.cases, app.thumbnails]) part.clear()
  app.selection.clear()
  app.scatter.clear()
  app.kernel.request('start')
}

/** A change that the kernel made or refused. */
function made(app, {number}) {
  app.kernel.confirm(number)
}

function alive() {} // the kernel's answer to the heartbeat; any message shows that it is there

const REPLIES = {
  start,
  order,
  numbers,
  thumbs,
  case: receiveCase,
  heat_maps: heatMaps,
  rows,
  proposal,
  mask,
  picture,
  statistics,
  latent,
  progress,
  error,
  made,
  alive,
  training,
  trained,
}

/** Name of a reply -> function of its values and buffers. */
export function makeHandlers(app) {
  const entries = Object.entries(REPLIES)
  return Object.fromEntries(entries.map(([name, use]) => [name, (...values) => use(app, ...values)]))
}
