// Changes that the kernel did not confirm yet. The browser's storage of this tab keeps them, too, so that
// they outlive a page that is loaded again.

const PREFIX = 'aeseg'

/** Bytes of several buffers as text, and back. */
function toText(buffers) {
  return buffers.map(buffer => btoa(Array.from(new Uint8Array(buffer), b => String.fromCharCode(b)).join('')))
}

function toBuffers(texts) {
  return texts.map(text => Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer)
}

/** The changes of one view. */
export class Unconfirmed {
  constructor() {
    this.view = `${Date.now().toString(36)}${Math.random().toString(36).slice(2, 8)}`
    this.count = 0
    this.changes = new Map() // number -> {number, name, values, buffers}, in the order of making
    this.run = null // path of the run, known after its first reply
  }

  get size() {
    return this.changes.size
  }

  list() {
    return [...this.changes.values()]
  }

  /** Number a change and keep it. */
  add(name, values, buffers) {
    const number = `${this.view}/${++this.count}`
    const change = {number, name, values, buffers}
    this.changes.set(number, change)
    this.store()
    return change
  }

  delete(number) {
    if (this.changes.delete(number)) this.store()
  }

  /** The decision about a case that is on its way; undefined where none is. */
  decisionOf(k) {
    const made = this.list().filter(({values}) => values.k === k || values.numbers?.includes(k))
    const decisions = made.map(({name, values}) => (name === 'correct' ? 'corrected' : values.decision))
    return decisions.findLast(decision => decision !== undefined)
  }

  key(view) {
    return `${PREFIX}:${this.run}:${view}`
  }

  /** Write to the storage. An undo belongs to the kernel's memory and means nothing to another kernel. */
  store() {
    if (!this.run) return
    const kept = this.list().filter(({name}) => name !== 'undo')
    const rows = kept.map(change => ({...change, buffers: toText(change.buffers)}))
    try {
      if (rows.length) sessionStorage.setItem(this.key(this.view), JSON.stringify(rows))
      else sessionStorage.removeItem(this.key(this.view))
    } catch {
      // without a storage, changes live as long as the page
    }
  }

  /** Take over what earlier pages of a run left. */
  adopt(run) {
    this.run = run
    const left = new Map()
    try {
      const keys = Object.keys(sessionStorage).filter(key => key.startsWith(this.key('')))
      for (const key of keys.sort()) {
        for (const row of JSON.parse(sessionStorage.getItem(key))) {
          left.set(row.number, {...row, buffers: toBuffers(row.buffers)})
        }
        if (key !== this.key(this.view)) sessionStorage.removeItem(key)
      }
    } catch {
      // as above
    }
    this.changes = new Map([...left, ...this.changes])
    this.store()
  }
}
