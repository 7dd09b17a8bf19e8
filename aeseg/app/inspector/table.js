// The filtered list as a CSV file, and tags: words of a note that begin with #.

import {make} from './dom.js'

/** The tags of a note, without #. */
export function tagsOf(note) {
  return (note ?? '').match(/#[\p{L}\p{N}_-]+/gu)?.map(tag => tag.slice(1)) ?? []
}

/** All tags of decisions, sorted. */
export function allTags(rows) {
  return [...new Set(Object.values(rows).flatMap(row => tagsOf(row?.note)))].sort()
}

function formatCell(value) {
  const text = typeof value === 'number' ? (Number.isNaN(value) ? '' : String(+value.toPrecision(6))) : value
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}

/** The listed cases, one row each: id, decision, note, tags, reason, and all numbers. */
export function makeTable(state, reasonOf) {
  const {ids, numbers, kept} = state.start
  const names = Object.keys(numbers)
  const head = ['id', 'decision', 'tags', 'note', 'kept', 'reason', ...names]
  const rows = Array.from(state.order, k => {
    const {decision = '', note = ''} = state.rows[k] ?? {}
    const facts = [ids[k], decision, tagsOf(note).join(' '), note, kept[k] ? 'yes' : 'no', reasonOf(k)]
    return [...facts, ...names.map(name => numbers[name][k])]
  })
  return [head, ...rows].map(row => row.map(formatCell).join(',')).join('\n') + '\n'
}

/** Offer a text as a file. */
export function saveFile(name, text) {
  const href = URL.createObjectURL(new Blob([text], {type: 'text/csv'}))
  make('a', {href, download: name}).click()
  setTimeout(() => URL.revokeObjectURL(href), 10000)
}
