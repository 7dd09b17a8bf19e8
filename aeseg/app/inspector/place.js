// Where the user was: the browser's storage of this tab keeps the open case, order and filter, so that a page
// that is loaded again shows them.

/** The place of one view in its run. */
export class Place {
  constructor(app) {
    this.app = app
  }

  get key() {
    return `aeseg-place:${this.app.state.start?.folder}`
  }

  keep() {
    const {start, open, sort, filter, worstFirst} = this.app.state
    if (!start) return
    try {
      sessionStorage.setItem(this.key, JSON.stringify({id: start.ids[open], sort, filter, worstFirst}))
    } catch {
      // without a storage, a page that is loaded again begins at the first case
    }
  }

  /** What was kept; an empty object where nothing was. */
  read() {
    try {
      return JSON.parse(sessionStorage.getItem(this.key)) ?? {}
    } catch {
      return {}
    }
  }
}
