// The view of the inspector: everything that must be instant happens here, on what the kernel sent once.
// Messages to the kernel are {ask: ...}, those from it {tell: ...}; see nbs/26_inspect.ipynb.

const LAYERS = [        // name, colour, shown at first, opacity at first; kinds: outline, or heat (a value for each pixel)
  {name: 'label', title: 'label', colour: '#ffd60a', on: true, opacity: .6},
  {name: 'corrected', title: 'corrected', colour: '#b388ff', on: true, opacity: .6},
  {name: 'prediction', title: 'prediction', colour: '#2ee6a8', on: false, opacity: .6},
  {name: 'truth', title: 'truth', colour: '#56b4e9', on: false, opacity: .6},
  {name: 'weights', title: 'weights', colour: '#ff7ad9', on: false, opacity: .6, heat: true},
  {name: 'uncertainty', title: 'uncertainty', colour: '#ff9f43', on: false, opacity: .7, heat: true},
  {name: 'reconstruction', title: 'VAE', colour: '#c4b5fd', on: false, opacity: .6, heat: true},
]
const MARKS = {accepted: '✓', rejected: '✕', corrected: '✎'}
const SVG = 'http://www.w3.org/2000/svg'
const REMEMBERED = 24       // cases kept here

const make = (tag, attributes = {}, ...inside) => {
  const e = document.createElement(tag)
  for (const [k, v] of Object.entries(attributes)) k.startsWith('on') ? e.addEventListener(k.slice(2), v) : k in e && k !== 'list' ? e[k] = v : e.setAttribute(k, v)
  e.append(...inside)
  return e
}
const draw_svg = (tag, attributes) => { const e = document.createElementNS(SVG, tag); for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v); return e }
const bytes = buffer => buffer instanceof DataView ? buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + buffer.byteLength) : buffer
const number = (v, digits = 3) => v === null || v === undefined || Number.isNaN(v) ? '–' : v.toFixed(digits)

function render({model, el}) {
  const s = {start: null, order: [], page: 0, size: 12, columns: 4, k: null, tab: 'gallery', sort: 'score', show: 'all', worst: true, thumbs: new Map(), asked: new Set(), cases: new Map(), wanted: new Set(),
             rows: {}, round: 0, zoom: 1, x: 0, y: 0, contrast: 1, brightness: 1, proposal: null, statistics: null, threshold: null, latent: null, layers: LAYERS.map(l => ({...l}))}
  let leaving = false         // a page that goes has no kernel any more; one that stays after all asks again
  const leave = () => { leaving = true; setTimeout(() => leaving = false, 2000) }
  window.addEventListener('beforeunload', leave)
  const ask = (what, more = {}) => { if (!leaving) model.send({ask: what, ...more}) }
  const root = make('div', {className: 'aeseg-inspector', tabIndex: 0})
  // JupyterLab's own keys, such as a and b, are not meant while this has the focus; those with Ctrl, such as save, are. The window hears keys before JupyterLab does.
  const mine = e => root.toggleAttribute('data-lm-suppress-shortcuts', !(e.ctrlKey || e.metaKey))
  window.addEventListener('keydown', mine, true)
  const height = model.get('height'); if (height) root.style.height = `${height}px`; else root.classList.add('whole')

  // ---------------------------------------------------------------- the frame
  const title = make('div', {className: 'ai-title'}), counts = make('div', {className: 'ai-counts'}), notes = make('details', {className: 'ai-notes', hidden: true})
  const tabs = make('div', {className: 'ai-tabs', role: 'tablist'}, ...['gallery', 'selection', 'overview'].map(t => make('button', {role: 'tab', textContent: t[0].toUpperCase() + t.slice(1), onclick: () => open_tab(t)})))
  const steer = make('button', {textContent: 'Train on…', title: 'The command that trains one more round with these decisions', onclick: () => show_command()})
  const left = make('div', {className: 'ai-left'}), right = make('div', {className: 'ai-right'})
  const toast = make('div', {className: 'ai-toast', hidden: true, role: 'status'}), pop = make('div', {className: 'ai-pop', hidden: true})
  root.append(make('div', {className: 'ai-head'}, title, tabs, counts, steer), notes, left, right, pop, toast)

  // gallery
  const sort = make('select', {title: 'Order', 'aria-label': 'Order', onchange: () => { s.sort = sort.value; reorder() }})
  const turn = make('button', {title: 'Worst first, or best first', onclick: () => { s.worst = !s.worst; reorder() }})
  const show = make('select', {title: 'Filter', 'aria-label': 'Filter', onchange: () => { s.show = show.value; reorder() }})
  const back = make('button', {textContent: '‹', title: 'Previous page', onclick: () => go_page(s.page - 1)}), on = make('button', {textContent: '›', title: 'Next page', onclick: () => go_page(s.page + 1)})
  const where = make('span', {className: 'ai-quiet ai-where'})
  const grid = make('div', {className: 'ai-grid ai-gallery'})
  const gallery = [make('div', {className: 'ai-bar'}, sort, turn, show, make('span', {className: 'ai-push'}), where, back, on), grid]

  // case
  const canvas = make('canvas'), context = canvas.getContext('2d'), name = make('div', {className: 'ai-name'}), verdict = make('div', {className: 'ai-verdict', hidden: true})
  const zoom = make('div', {className: 'ai-zoom'}, make('button', {textContent: '−', title: 'Smaller', onclick: () => zoom_by(1 / 1.4)}), make('button', {textContent: '⤢', title: 'Whole image (double click)', onclick: () => fit()}), make('button', {textContent: '+', title: 'Larger (wheel)', onclick: () => zoom_by(1.4)}))
  const stage = make('div', {className: 'ai-stage'}, canvas, name, verdict, zoom)
  const layers = make('div', {className: 'ai-layers'})
  const slider = (low, high, step, value, use) => make('input', {type: 'range', min: low, max: high, step, value, oninput: e => use(Number(e.target.value))})
  const round_name = make('b'), round = slider(0, 1, 1, 0, v => { s.round = s.start.rounds[v]; draw_case() })
  round.className = 'ai-round'
  const knobs = make('div', {className: 'ai-knobs'}, make('label', {title: 'How the label changed from round to round'}, 'round', round, round_name), make('label', {}, 'contrast', slider(.2, 3, .05, 1, v => { s.contrast = v; draw_case() })), make('label', {}, 'brightness', slider(.2, 3, .05, 1, v => { s.brightness = v; draw_case() })))
  const numbers = make('div', {className: 'ai-numbers'})
  const yes = make('button', {className: 'yes', onclick: () => decide('accepted')}, 'Accept', make('kbd', {textContent: 'a'})), no = make('button', {className: 'no', onclick: () => decide('rejected')}, 'Reject', make('kbd', {textContent: 'r'})), undo = make('button', {onclick: () => ask('undo')}, 'Undo', make('kbd', {textContent: 'u'}))
  const fixes = [['ellipse', 'Ellipse', 'Replace the label by a fitted ellipse'], ['largest_component', 'Largest part', 'Keep the largest connected part'], ['fill_holes', 'Fill holes', 'Fill the holes'], ['smooth', 'Smooth', 'Smooth the outline']].map(([how, text, hint]) => make('button', {textContent: text, title: hint, onclick: () => propose(how)}))
  const note = make('input', {type: 'text', placeholder: 'Note', onchange: () => { if (s.k !== null) ask('comment', {k: s.k, note: note.value}) }})
  const apply = make('button', {className: 'primary', textContent: 'Apply', hidden: true, onclick: () => apply_proposal()}), cancel = make('button', {textContent: 'Cancel', hidden: true, onclick: () => { s.proposal = null; draw_case(); show_case_state() }})
  right.append(stage, layers, knobs, numbers, make('div', {className: 'ai-act'}, yes, no, undo), make('div', {className: 'ai-fix'}, ...fixes, note, apply, cancel))

  // ---------------------------------------------------------------- thumbnails
  const key = (k, r) => `${r}/${k}`
  const want_thumbs = (ks, r) => {
    const fresh = ks.filter(k => !s.thumbs.has(key(k, r)) && !s.asked.has(key(k, r)))
    fresh.forEach(k => s.asked.add(key(k, r)))
    for (let n = 0; n < fresh.length; n += 8) ask('thumbs', {numbers: fresh.slice(n, n + 8), round: r})       // a few at a time, so that the first ones show at once
  }
  const tile = (k, r = s.start.last, caption = true) => {
    const frame = make('div', {className: 'ai-frame'}), t = s.thumbs.get(key(k, r)), [h, w] = s.start.tile
    frame.style.aspectRatio = `${w}/${h}`
    if (t) {
      if (t.url) frame.append(make('img', {src: t.url, alt: s.start.ids[k], draggable: false}))
      const picture = draw_svg('svg', {viewBox: `0 0 ${t.shape[1]} ${t.shape[0]}`})
      if (t.path) picture.append(draw_svg('path', {d: t.path, class: 'rim'}), draw_svg('path', {d: t.path, class: 'own'}))
      frame.append(picture)
    }
    const done = s.rows[k]?.decision
    if (done && caption) frame.append(make('div', {className: `ai-badge ai-${done}`, textContent: MARKS[done]}))
    const e = make('div', {className: 'ai-tile' + (k === s.k ? ' now' : '') + (s.start.kept[k] ? '' : ' dropped'), title: s.start.ids[k] + (s.start.kept[k] ? '' : ', dropped by the selection'), onclick: () => { open_case(k); root.focus({preventScroll: true}) }}, frame)
    e.dataset.k = k
    if (caption) e.append(make('div', {className: 'ai-caption'}, make('span', {textContent: short(s.start.ids[k])}), make('b', {textContent: number(s.start.numbers[s.sort in s.start.numbers ? s.sort : 'score'][k], 2)})))
    return e
  }
  const short = id => { const rest = id.slice(s.start.prefix) || id; return rest.length > 14 ? '…' + rest.slice(-12) : rest }       // without what all names begin with

  // ---------------------------------------------------------------- gallery
  const reorder = () => { turn.textContent = s.worst ? 'worst first' : 'best first'; ask('order', {sort: s.sort, show: s.show, worst_first: s.worst}) }
  const measure = () => {
    const [h, w] = s.start.tile, width = grid.clientWidth, tall = grid.clientHeight
    s.columns = Math.max(2, Math.round(width / 132))
    const one = (width - 10 * (s.columns - 1)) / s.columns * h / w + 18
    s.size = s.columns * Math.max(1, Math.floor((tall + 10) / (one + 10)))
    grid.style.gridTemplateColumns = `repeat(${s.columns},minmax(0,1fr))`
  }
  const page_of = () => Array.from(s.order.slice(s.page * s.size, (s.page + 1) * s.size))
  const draw_gallery = () => {
    if (!s.start || s.tab !== 'gallery') return
    measure()
    const pages = Math.max(1, Math.ceil(s.order.length / s.size)); s.page = Math.min(Math.max(0, s.page), pages - 1)
    const ks = page_of(); want_thumbs(ks, s.start.last)
    grid.replaceChildren(...(ks.length ? ks.map(k => tile(k)) : [make('div', {className: 'ai-empty', textContent: 'No case here'})]))
    where.textContent = `${s.order.length} cases · ${s.page + 1} / ${pages}`
    back.disabled = !s.page; on.disabled = s.page === pages - 1
    if (ks.length && ks.every(k => s.thumbs.has(key(k, s.start.last)))) root.dataset.page = String(s.page)
  }
  const go_page = p => { s.page = p; delete root.dataset.page; draw_gallery() }
  const refresh_tiles = ks => { for (const e of root.querySelectorAll('.ai-left .ai-tile')) if (!ks || ks.includes(Number(e.dataset.k))) { const r = Number(e.dataset.r ?? s.start.last), n = tile(Number(e.dataset.k), r, e.dataset.r === undefined); if (e.dataset.r !== undefined) n.dataset.r = e.dataset.r; e.replaceWith(n) } }

  // ---------------------------------------------------------------- one case
  const want_case = k => { if (k !== undefined && k !== null && !s.cases.has(k) && !s.wanted.has(k)) { s.wanted.add(k); ask('case', {k}) } }
  let warming
  const want_heats = () => { const c = s.cases.get(s.k); if (c && !c.heats && !c.asked) { c.asked = true; ask('heats', {k: s.k}) } }      // networks take longer than files, so they are asked when a case stays open
  const open_case = k => {
    if (k === undefined || k === null) return
    const before = s.k; s.k = k; s.proposal = null; root.dataset.open = String(k); fit(false)
    want_case(k)
    refresh_tiles([before, k]); draw_case(); show_case_state()
    if (s.tab === 'overview') draw_scatter()
    const at = s.order.indexOf(k)
    for (const near of [s.order[at + 1], s.order[at - 1]]) want_case(near)       // so that the next one is there
    clearTimeout(warming); warming = setTimeout(want_heats, s.layers.some(l => l.on && l.heat) ? 0 : 250)
  }
  const move = steps => {
    if (!s.order.length) return
    const at = s.order.indexOf(s.k), to = Math.min(Math.max(0, at < 0 ? 0 : at + steps), s.order.length - 1)
    if (Math.floor(to / s.size) !== s.page && s.tab === 'gallery') { s.page = Math.floor(to / s.size); s.k = s.order[to]; draw_gallery() }
    open_case(s.order[to])
  }
  const scale = c => { const w = stage.clientWidth, h = stage.clientHeight; return Math.min(w / c.shape[1], h / c.shape[0]) * s.zoom }
  const fit = (again = true) => { s.zoom = 1; s.x = s.y = 0; if (again) draw_case() }
  const zoom_by = (f, px = 0, py = 0) => { const z = Math.min(Math.max(s.zoom * f, .5), 24); f = z / s.zoom; s.x = px - (px - s.x) * f; s.y = py - (py - s.y) * f; s.zoom = z; draw_case() }
  const to_picture = e => { const b = canvas.getBoundingClientRect(), c = s.cases.get(s.k), f = scale(c); return [(e.clientX - b.left - b.width / 2 - s.x) / f + c.shape[1] / 2, (e.clientY - b.top - b.height / 2 - s.y) / f + c.shape[0] / 2] }

  function draw_case() {
    const c = s.cases.get(s.k), ratio = window.devicePixelRatio || 1, w = stage.clientWidth, h = stage.clientHeight
    if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(h * ratio)) { canvas.width = Math.round(w * ratio); canvas.height = Math.round(h * ratio) }
    context.setTransform(1, 0, 0, 1, 0, 0); context.clearRect(0, 0, canvas.width, canvas.height)
    if (!c) return
    const f = scale(c)
    context.setTransform(ratio * f, 0, 0, ratio * f, ratio * (w / 2 + s.x - c.shape[1] / 2 * f), ratio * (h / 2 + s.y - c.shape[0] / 2 * f))
    if (c.bitmap) { context.filter = s.contrast === 1 && s.brightness === 1 ? 'none' : `brightness(${s.brightness}) contrast(${s.contrast})`; context.imageSmoothingEnabled = f < 6; context.drawImage(c.bitmap, 0, 0, c.shape[1], c.shape[0]); context.filter = 'none' }
    for (const layer of s.layers.filter(l => l.on && l.heat)) {
      const heat = c.heats?.[`${layer.name}/${s.round}`] ?? c.heats?.[`${layer.name}/`]
      if (heat) { context.globalAlpha = layer.opacity; context.imageSmoothingEnabled = true; context.drawImage(heat.canvas ??= tint(heat, layer.colour), 0, 0, c.shape[1], c.shape[0]) }
    }
    for (const layer of s.layers.filter(l => l.on && !l.heat)) {
      const d = c.outlines[`${layer.name}/${s.round}`] ?? c.outlines[`${layer.name}/`]
      if (d) stroke(new Path2D(d), layer.colour, layer.opacity, f)
    }
    const p = s.proposal
    if (p && p.k === s.k) {
      if (p.ellipse) { const e = p.ellipse, path = new Path2D(); path.ellipse(e.x, e.y, e.a, e.b, e.angle * Math.PI / 180, 0, 2 * Math.PI); stroke(path, '#fff', .8, f, [6, 4]); for (const [x, y] of handles(e)) { context.globalAlpha = 1; context.fillStyle = '#fff'; context.beginPath(); context.arc(x, y, 5.5 / f, 0, 2 * Math.PI); context.fill(); context.strokeStyle = '#8250df'; context.lineWidth = 2 / f; context.stroke() } }
      else stroke(new Path2D(p.path), '#fff', .8, f, [6, 4])
    }
    context.globalAlpha = 1
    round_name.textContent = s.round ? String(s.round) : 'E'
    root.dataset.shown = `${s.k}/${s.round}/${s.layers.filter(l => l.on).map(l => l.name)}`
  }
  const stroke = (path, colour, opacity, f, dash = []) => {
    context.globalAlpha = .22 * opacity; context.fillStyle = colour; context.fill(path, 'evenodd')
    context.lineJoin = 'round'
    context.globalAlpha = .5 * Math.min(1, opacity * 1.7); context.strokeStyle = '#000'; context.lineWidth = 3.6 / f; context.stroke(path)
    context.globalAlpha = Math.min(1, opacity * 1.7); context.strokeStyle = colour; context.lineWidth = 1.8 / f; context.setLineDash(dash.map(d => d / f)); context.stroke(path); context.setLineDash([])
  }
  const tint = (heat, colour) => {
    const [h, w] = heat.shape, c = make('canvas', {width: w, height: h}), picture = new ImageData(w, h), [r, g, b] = [1, 3, 5].map(k => parseInt(colour.slice(k, k + 2), 16))
    for (let n = 0; n < w * h; n++) { picture.data[4 * n] = r; picture.data[4 * n + 1] = g; picture.data[4 * n + 2] = b; picture.data[4 * n + 3] = heat.values[n] }
    c.getContext('2d').putImageData(picture, 0, 0)
    return c
  }
  function show_case_state() {
    const c = s.cases.get(s.k), row = s.rows[s.k]
    name.textContent = s.k === null ? '' : s.start.ids[s.k]
    verdict.hidden = !row?.decision; if (row?.decision) { verdict.textContent = row.decision; verdict.className = `ai-verdict ai-${row.decision}` }
    yes.classList.toggle('on', row?.decision === 'accepted'); no.classList.toggle('on', row?.decision === 'rejected')
    if (document.activeElement !== note) note.value = row?.note ?? ''
    const can = s.start.writable && s.k !== null
    for (const b of [yes, no, undo, note, ...fixes]) b.disabled = !can
    const proposing = Boolean(s.proposal); apply.hidden = cancel.hidden = !proposing; note.hidden = proposing; fixes.forEach(b => b.hidden = proposing && b !== fixes[0])
    fixes[0].hidden = proposing
    if (c) numbers.replaceChildren(...c.numbers.map(([what, value]) => make('span', {}, what, make('b', {textContent: typeof value === 'number' ? number(value) : value ?? '–'}))))
    draw_layers(c)
  }
  function draw_layers(c) {
    const there = l => c && (l.heat && !c.heats || Object.keys(l.heat ? c.heats : c.outlines).some(n => n.startsWith(l.name + '/')))
    layers.replaceChildren(...s.layers.map((l, n) => {
      const box = make('div', {className: 'ai-layer' + (l.on ? ' on' : '') + (there(l) ? '' : ' none'), title: there(l) ? `${l.title}: click to switch (key ${n + 1})` : `${l.title}: not in this run`, role: 'checkbox', ariaChecked: String(l.on)}, make('i'), make('span', {textContent: l.title}), slider(0, 1, .02, l.opacity, v => { l.opacity = v; draw_case() }))
      box.style.setProperty('--c', l.colour); box.dataset.layer = l.name
      box.addEventListener('click', e => { if (e.target.tagName !== 'INPUT') switch_layer(n) })
      return box
    }))
  }
  const switch_layer = n => { const l = s.layers[n]; if (!l) return; l.on = !l.on; if (l.on && l.heat) want_heats(); draw_case(); draw_layers(s.cases.get(s.k)) }

  // ---------------------------------------------------------------- decisions
  const decide = decision => { if (s.k !== null && s.start.writable) ask('decide', {k: s.k, decision: s.rows[s.k]?.decision === decision ? '' : decision}) }
  const propose = how => { if (s.k !== null && s.start.writable) ask('propose', {k: s.k, how}) }
  const apply_proposal = () => { const p = s.proposal; if (!p) return; ask('correct', {k: p.k, how: p.how, ellipse: p.ellipse ?? null}); s.proposal = null; show_case_state() }
  const handles = e => { const t = e.angle * Math.PI / 180, c = Math.cos(t), d = Math.sin(t); return [[e.x, e.y], [e.x + c * e.a, e.y + d * e.a], [e.x - d * e.b, e.y + c * e.b], [e.x - c * e.a, e.y - d * e.a], [e.x + d * e.b, e.y - c * e.b]] }
  const pull = (e, n, x, y) => {
    if (n === 0) { e.x = x; e.y = y; return }
    const dx = x - e.x, dy = y - e.y, length = Math.max(2, Math.hypot(dx, dy)), angle = Math.atan2(dy, dx) * 180 / Math.PI
    if (n % 2) { e.a = length; e.angle = angle + (n === 3 ? 180 : 0) } else { e.b = length; e.angle = angle + (n === 2 ? -90 : 90) }
  }
  const show_counts = () => {
    const n = {accepted: 0, rejected: 0, corrected: 0}; for (const r of Object.values(s.rows)) if (r?.decision) n[r.decision]++
    counts.replaceChildren(...Object.entries(n).map(([d, v]) => make('span', {title: d}, make('i', {className: `ai-${d}`}), String(v))))
    root.dataset.decided = JSON.stringify(n)
    steer.disabled = !(n.accepted + n.rejected + n.corrected)
  }
  const show_command = () => {
    if (!pop.hidden) { pop.hidden = true; return }
    const copy = make('button', {className: 'primary', textContent: 'Copy', onclick: () => { navigator.clipboard?.writeText(s.start.command); copy.textContent = 'Copied' }})
    pop.replaceChildren(make('p', {textContent: 'This command trains one more round: rejected labels are left out, accepted and corrected ones count in full. The run then says that human decisions entered it.'}), make('pre', {textContent: s.start.command}), copy)
    pop.hidden = false
  }
  let fading; const say = text => { toast.textContent = text; toast.hidden = false; clearTimeout(fading); fading = setTimeout(() => toast.hidden = true, 5000) }

  // ---------------------------------------------------------------- selection
  const big = make('div', {className: 'ai-big'}), chart = draw_svg('svg', {class: 'ai-chart', viewBox: '0 0 600 240', preserveAspectRatio: 'none'}), below = make('div', {className: 'ai-grid'}), above = make('div', {className: 'ai-grid'})
  const cut = slider(0, 1, .0005, 0, v => set_threshold(v)); cut.className = 'ai-threshold'; cut.setAttribute('aria-label', 'Threshold')
  const limit_text = make('span', {className: 'ai-quiet'}), limit = slider(.5, .99, .01, .8, v => { limit_text.textContent = `bad: Dice below ${v.toFixed(2)}`; ask('statistics', {limit: v}) })
  limit_text.textContent = 'bad: Dice below 0.80'; limit.style.width = '120px'
  const limit_bar = make('div', {className: 'ai-bar'}, make('span', {className: 'ai-push'}), limit_text, limit)
  const selection = [make('div', {className: 'ai-charts'}, big, chart, cut, limit_bar, make('div', {className: 'ai-strips'}, make('div', {}, make('h4', {textContent: 'just dropped'}), below), make('div', {}, make('h4', {textContent: 'just kept'}), above)))]
  let bars = [], line, marker, updates = 0, strip_timer
  const figures = Object.fromEntries(['kept', 'dropped', 'precision', 'recall'].map(n => [n, make('b', {textContent: '–'})]))
  const draw_selection = () => {
    const t = s.statistics, scores = s.start.numbers.score
    if (!t) return
    const known = Array.from(scores).filter(v => !Number.isNaN(v)), low = Math.min(...known), high = Math.max(...known), bins = Math.min(40, Math.max(8, Math.round(Math.sqrt(known.length) * 1.6))), heights = new Array(bins).fill(0)
    if (!known.length) { big.replaceChildren(make('span', {textContent: 'No label was scored in this run'})); return }
    for (const v of known) heights[Math.min(bins - 1, Math.floor((v - low) / (high - low || 1) * bins))]++
    const top = Math.max(...heights), X = v => (v - low) / (high - low || 1) * 600
    s.span = [low, high, X]; bars = []; chart.replaceChildren()
    const curves = t.known > 0, floor = curves ? 150 : 232
    heights.forEach((n, b) => { const r = draw_svg('rect', {x: b * 600 / bins + 1, width: 600 / bins - 2, y: floor - n / top * (floor - 8), height: n / top * (floor - 8), rx: 1.5}); bars.push([r, low + (b + .5) / bins * (high - low)]); chart.append(r) })
    chart.append(draw_svg('line', {x1: 0, x2: 600, y1: floor, y2: floor, stroke: 'var(--line)', 'vector-effect': 'non-scaling-stroke'}))
    if (curves) for (const [values, colour] of [[t.precision, 'var(--accent)'], [t.recall, 'var(--bad)']]) {
      const d = Array.from(values, (v, n) => Number.isNaN(v) || !Number.isFinite(t.threshold[n]) ? '' : `${X(t.threshold[n]).toFixed(1)} ${(234 - v * 72).toFixed(1)}`).filter(Boolean).join('L')
      if (d) chart.append(draw_svg('path', {d: 'M' + d, fill: 'none', stroke: colour, 'stroke-width': 1.6, 'vector-effect': 'non-scaling-stroke'}))
    }
    line = draw_svg('line', {y1: 0, y2: 240, stroke: 'var(--ink)', 'stroke-width': 1.5, 'vector-effect': 'non-scaling-stroke'}); chart.append(line)
    const names = {kept: 'kept', dropped: 'dropped', precision: 'of the dropped are bad', recall: 'of the bad are found'}
    big.replaceChildren(...Object.keys(figures).filter(n => curves || n === 'kept' || n === 'dropped').map(n => { const e = make('div', {}, figures[n], make('span', {textContent: names[n]})); if (n === 'precision') figures[n].style.color = 'var(--accent)'; if (n === 'recall') figures[n].style.color = 'var(--bad)'; return e }))
    limit_bar.hidden = !s.start.truth
    cut.min = low; cut.max = high + (high - low) / 1000; cut.step = (high - low) / 2000 || .001
    if (s.threshold === null) s.threshold = Math.min(...Array.from(s.start.kept).map((kept, k) => kept && !Number.isNaN(scores[k]) ? scores[k] : Infinity))
    cut.value = s.threshold; set_threshold(s.threshold)
  }
  const set_threshold = v => {
    const t = s.statistics; if (!t || !line) return
    s.threshold = v
    let low = 0, high = t.threshold.length - 1; while (low < high) { const mid = low + high >> 1; t.threshold[mid] < v - 1e-7 ? low = mid + 1 : high = mid }
    const all = t.dropped[t.dropped.length - 1], percent = p => Number.isNaN(p) ? '–' : `${Math.round(100 * p)} %`
    figures.dropped.textContent = t.dropped[low]; figures.kept.textContent = all - t.dropped[low]; figures.precision.textContent = percent(t.precision[low]); figures.recall.textContent = percent(t.recall[low])
    for (const [r, middle] of bars) r.setAttribute('fill', middle < v ? '#d55e00' : '#2a86c8')
    const x = s.span[2](v); line.setAttribute('x1', x); line.setAttribute('x2', x)
    root.dataset.updates = String(++updates)
    clearTimeout(strip_timer); strip_timer = setTimeout(draw_strips, 60)
  }
  const draw_strips = () => {
    if (s.tab !== 'selection') return
    const scores = s.start.numbers.score, sorted = Array.from(scores.keys()).filter(k => !Number.isNaN(scores[k])).sort((a, b) => scores[a] - scores[b]), at = sorted.findIndex(k => scores[k] >= s.threshold - 1e-7), cut_at = at < 0 ? sorted.length : at
    const lower = sorted.slice(Math.max(0, cut_at - 4), cut_at), upper = sorted.slice(cut_at, cut_at + 4)
    want_thumbs([...lower, ...upper], s.start.last)
    below.replaceChildren(...lower.map(k => tile(k))); above.replaceChildren(...upper.map(k => tile(k)))
  }
  const drag_threshold = e => { if (e.buttons !== 1 || !s.span) return; const b = chart.getBoundingClientRect(), v = s.span[0] + Math.min(1, Math.max(0, (e.clientX - b.left) / b.width)) * (s.span[1] - s.span[0]); cut.value = v; set_threshold(v) }
  chart.addEventListener('pointerdown', e => { chart.setPointerCapture(e.pointerId); drag_threshold(e) }); chart.addEventListener('pointermove', drag_threshold)

  // ---------------------------------------------------------------- overview
  const mosaic = make('div', {className: 'ai-mosaic'}), plot = make('canvas'), scatter = make('div', {className: 'ai-scatter'}, plot), plot_title = make('h4', {textContent: 'latent space of the VAE, one point a label: pale is a low score'})
  const overview = [make('div', {className: 'ai-charts'}, mosaic, plot_title, scatter)]
  const draw_mosaic = () => {
    const ks = Array.from(s.order.slice(s.page * s.size, s.page * s.size + 6)), columns = [...s.start.rounds, ...(s.start.predictions ? [-1] : [])]
    mosaic.style.gridTemplateColumns = `64px repeat(${ks.length || 1},minmax(0,1fr))`
    for (const r of columns) want_thumbs(ks, r)
    const cells = []
    for (const r of columns) { cells.push(make('div', {className: 'ai-quiet', textContent: r === -1 ? 'final' : r === 0 ? 'E' : `round ${r}`})); for (const k of ks) { const e = tile(k, r, false); e.dataset.r = r; cells.push(e) } }
    mosaic.replaceChildren(...cells)
  }
  const draw_scatter = () => {
    if (!s.latent) { plot_title.textContent = s.latent_text ?? 'latent space of the VAE: encoding the labels …'; return }
    plot_title.textContent = 'latent space of the VAE, one point a label: pale is a low score'
    const ratio = window.devicePixelRatio || 1, w = scatter.clientWidth, h = scatter.clientHeight, c = plot.getContext('2d'); plot.width = w * ratio; plot.height = h * ratio; c.scale(ratio, ratio)
    const p = s.latent, xs = [], ys = []; for (let k = 0; k < p.length / 2; k++) if (!Number.isNaN(p[2 * k])) { xs.push(p[2 * k]); ys.push(p[2 * k + 1]) }
    const [a, b, d, e] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)], at = k => [10 + (p[2 * k] - a) / (b - a || 1) * (w - 20), h - 10 - (p[2 * k + 1] - d) / (e - d || 1) * (h - 20)]
    s.place = at
    const scores = s.start.numbers.score
    for (let k = 0; k < p.length / 2; k++) { if (Number.isNaN(p[2 * k])) continue; const [x, y] = at(k), row = s.rows[k]?.decision; c.globalAlpha = row ? 1 : .2 + .7 * (Number.isNaN(scores[k]) ? .5 : scores[k]); c.fillStyle = row === 'rejected' ? '#cf3c1b' : row === 'accepted' ? '#1f883d' : row === 'corrected' ? '#8250df' : '#2a86c8'; c.beginPath(); c.arc(x, y, 3.4, 0, 7); c.fill() }
    if (s.k !== null && !Number.isNaN(p[2 * s.k])) { const [x, y] = at(s.k); c.globalAlpha = 1; c.strokeStyle = getComputedStyle(root).color; c.lineWidth = 2; c.beginPath(); c.arc(x, y, 7, 0, 7); c.stroke() }
    root.dataset.scatter = String(xs.length)
  }
  plot.addEventListener('click', e => {
    if (!s.latent) return
    const b = plot.getBoundingClientRect(); let best = null, least = 900
    for (let k = 0; k < s.latent.length / 2; k++) { if (Number.isNaN(s.latent[2 * k])) continue; const [x, y] = s.place(k), d = (x - e.clientX + b.left) ** 2 + (y - e.clientY + b.top) ** 2; if (d < least) { least = d; best = k } }
    open_case(best)
  })

  // ---------------------------------------------------------------- tabs, keys, pointer
  const open_tab = t => {
    s.tab = t; root.dataset.tab = t
    for (const [n, b] of [...tabs.children].entries()) b.setAttribute('aria-selected', String(['gallery', 'selection', 'overview'][n] === t))
    left.replaceChildren(...({gallery, selection, overview})[t])
    if (t === 'gallery') draw_gallery()
    if (t === 'selection') { if (!s.statistics) ask('statistics', {limit: .8}); else draw_selection() }
    if (t === 'overview') { draw_mosaic(); if (!s.latent) ask('latent'); draw_scatter() }
  }
  root.addEventListener('keydown', e => {
    if (e.ctrlKey || e.metaKey) return
    if (e.altKey || ['TEXTAREA', 'SELECT'].includes(e.target.tagName) || e.target.tagName === 'INPUT' && (e.target.type !== 'range' || e.key.startsWith('Arrow') || e.key.startsWith('Page'))) { e.stopPropagation(); if (e.key === 'Enter' && e.target === note) root.focus(); return }
    const keys = {ArrowRight: () => move(1), ArrowLeft: () => move(-1), ArrowDown: () => move(s.columns), ArrowUp: () => move(-s.columns), PageDown: () => move(s.size), PageUp: () => move(-s.size), a: () => decide('accepted'), r: () => decide('rejected'), u: () => ask('undo'), e: () => propose('ellipse'),
                  Enter: () => s.proposal && e.target.tagName !== 'BUTTON' && apply_proposal(), Escape: () => { s.proposal = null; pop.hidden = true; draw_case(); show_case_state() }}
    const act = keys[e.key] ?? (/^[1-7]$/.test(e.key) ? () => switch_layer(Number(e.key) - 1) : null)
    if (!s.start || !act) return
    if (e.key === 'Enter' && e.target.tagName === 'BUTTON') return
    e.preventDefault(); e.stopPropagation(); act()
  })
  let held = null
  canvas.addEventListener('pointerdown', e => {
    root.focus({preventScroll: true}); const c = s.cases.get(s.k); if (!c) return
    canvas.setPointerCapture(e.pointerId)
    const [x, y] = to_picture(e), reach = 11 / scale(c), ellipse = s.proposal?.ellipse, n = ellipse ? handles(ellipse).findIndex(([a, b]) => Math.hypot(a - x, b - y) < reach) : -1
    held = n >= 0 ? {n} : {x: e.clientX - s.x, y: e.clientY - s.y}
  })
  canvas.addEventListener('pointermove', e => { if (!held) return; if (held.n !== undefined) pull(s.proposal.ellipse, held.n, ...to_picture(e)); else { s.x = e.clientX - held.x; s.y = e.clientY - held.y } draw_case() })
  canvas.addEventListener('pointerup', () => held = null)
  canvas.addEventListener('dblclick', () => fit())
  canvas.addEventListener('wheel', e => { if (!height || root.contains(document.activeElement)) { e.preventDefault(); const b = canvas.getBoundingClientRect(); zoom_by(Math.exp(-e.deltaY / 300), e.clientX - b.left - b.width / 2, e.clientY - b.top - b.height / 2) } }, {passive: false})

  // ---------------------------------------------------------------- what the kernel tells
  const told = {
    start(m, buffers) {
      const columns = new Float32Array(bytes(buffers[0])), n = m.ids.length
      m.numbers = Object.fromEntries(m.columns.map((c, k) => [c, columns.subarray(k * n, (k + 1) * n)])); m.kept = new Uint8Array(bytes(buffers[1]))
      const first = m.ids[0] ?? '', last = m.ids[n - 1] ?? ''; let same = 0; while (n > 1 && same < first.length && first[same] === last[same]) same++      // ids are sorted
      m.prefix = 1 + Math.max(-1, ...['_', '-', ' ', '.'].map(c => first.slice(0, same).lastIndexOf(c)))
      s.start = m; s.rows = Object.fromEntries(m.rows.map(r => [r.k, r])); s.round = m.last
      title.replaceChildren(m.name, make('small', {textContent: `${n} cases` + (m.reviewed ? ` · reviewed: ${m.reviewed}` : '')})); title.title = title.textContent
      sort.replaceChildren(...m.sorts.map(([v, t]) => make('option', {value: v, textContent: t}))); sort.value = s.sort
      show.replaceChildren(...m.filters.map(v => make('option', {value: v, textContent: v})))
      round.max = m.rounds.length - 1; round.value = m.rounds.indexOf(s.round); round.disabled = m.rounds.length < 2
      notes.hidden = !m.problems.length; notes.open = m.problems.length === 1
      notes.replaceChildren(make('summary', {textContent: m.problems.length === 1 ? 'Something is missing' : `${m.problems.length} things are missing`}), make('ul', {}, ...m.problems.map(p => make('li', {textContent: p}))))
      show_counts(); open_tab('gallery'); turn.textContent = 'worst first'
      told.order({sort: s.sort, show: s.show, worst_first: s.worst}, [buffers[2]]); open_case(s.order[0])
    },
    order(m, buffers) { if (m.sort !== s.sort || m.show !== s.show || m.worst_first !== s.worst) return; s.order = new Int32Array(bytes(buffers[0])); s.page = 0; delete root.dataset.page; if (s.tab === 'gallery') draw_gallery(); root.dataset.order = `${s.sort}/${s.show}/${s.order.length}` },
    numbers(m, buffers) { const all = new Float32Array(bytes(buffers[0])), n = s.start.ids.length; m.columns.forEach((c, k) => s.start.numbers[c] = all.subarray(k * n, (k + 1) * n)); s.cases.clear(); s.wanted.clear(); want_case(s.k) },
    thumbs(m, buffers) {
      m.items.forEach((t, n) => { const b = bytes(buffers[n]); s.thumbs.set(key(t.k, m.round), {...t, url: b.byteLength ? URL.createObjectURL(new Blob([b], {type: 'image/jpeg'})) : null}) })
      refresh_tiles(m.items.map(t => t.k))
      if (s.tab === 'gallery') { const ks = page_of(); if (ks.every(k => s.thumbs.has(key(k, s.start.last)))) root.dataset.page = String(s.page) }
    },
    async case(m, buffers) {
      const picture = bytes(buffers[0]), bitmap = picture.byteLength ? await createImageBitmap(new Blob([picture], {type: 'image/png'})) : null
      s.cases.set(m.k, {shape: m.shape, outlines: m.outlines, heats: null, numbers: m.numbers, bitmap}); s.wanted.delete(m.k)
      while (s.cases.size > REMEMBERED) { const oldest = [...s.cases.keys()].find(k => k !== s.k); s.cases.delete(oldest) }
      if (m.k === s.k) { draw_case(); show_case_state(); clearTimeout(warming); warming = setTimeout(want_heats, s.layers.some(l => l.on && l.heat) ? 0 : 250) }
    },
    heats(m, buffers) {
      const c = s.cases.get(m.k); if (!c) return
      c.heats = {}; m.heats.forEach(([n, shape], k) => c.heats[n] = {shape, values: new Uint8Array(bytes(buffers[k]))})
      if (m.k === s.k) { draw_case(); draw_layers(c) }
    },
    rows(m) {
      for (const r of m.rows) r.decision !== undefined ? s.rows[r.k] = r : delete s.rows[r.k]
      for (const r of m.rows) if (r.stale) { s.cases.delete(r.k); s.wanted.delete(r.k); s.asked.delete(key(r.k, s.start.last)); s.thumbs.delete(key(r.k, s.start.last)); want_thumbs([r.k], s.start.last); if (r.k === s.k) want_case(r.k) }
      show_counts(); refresh_tiles(m.rows.map(r => r.k)); if (m.open !== undefined && m.open !== s.k) open_case(m.open)
      show_case_state(); if (s.tab === 'overview') draw_scatter()
      root.dataset.saved = String(Number(root.dataset.saved ?? 0) + 1)
    },
    proposal(m) { if (m.k !== s.k) return; s.proposal = m; draw_case(); show_case_state() },
    statistics(m, buffers) { const [threshold, precision, recall] = [0, 1, 2].map(k => new Float32Array(bytes(buffers[k]))); s.statistics = {threshold, precision, recall, dropped: new Int32Array(bytes(buffers[3])), ...m}; if (s.tab === 'selection') draw_selection() },
    latent(m, buffers) { s.latent = m.there ? new Float32Array(bytes(buffers[0])) : null; s.latent_text = m.there ? null : 'no VAE in this run folder, so no latent space'; if (s.tab === 'overview') draw_scatter() },
    progress(m) { say(`${m.text} ${Math.round(100 * m.done)} %`) },
    error(m) { say(m.text) },
  }
  const hear = (m, buffers) => told[m.tell]?.(m, buffers ?? [])
  model.on('msg:custom', hear)
  const watch = new ResizeObserver(() => { if (!s.start) return; if (s.tab === 'gallery') draw_gallery(); if (s.tab === 'overview') draw_scatter(); draw_case() }); watch.observe(root)
  const others = setInterval(() => { if (s.start && document.visibilityState === 'visible') ask('refresh') }, 4000)       // what another inspector decided
  el.append(root); ask('start')
  return () => { window.removeEventListener('keydown', mine, true); window.removeEventListener('beforeunload', leave); model.off('msg:custom', hear); watch.disconnect(); clearInterval(others); for (const t of s.thumbs.values()) if (t.url) URL.revokeObjectURL(t.url) }
}

export default {render}
