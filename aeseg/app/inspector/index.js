// The view of the inspector. Each case is sent once; layers, zoom and thresholds are drawn from it in the
// browser. `app` holds the state and the parts of a view; parts call each other through it.

import {Canvas} from './canvas.js'
import {Cases} from './cases.js'
import {Chosen} from './chosen.js'
import {Connection} from './connection.js'
import {Controls} from './controls.js'
import {Decisions} from './decisions.js'
import {make} from './dom.js'
import {Editor} from './editor.js'
import {Gallery} from './gallery.js'
import {Header} from './header.js'
import {Help} from './help.js'
import {Kernel} from './kernel.js'
import {Keyboard} from './keyboard.js'
import {Layers} from './layers.js'
import {Notices} from './notices.js'
import {Overview} from './overview.js'
import {Panel} from './panel.js'
import {Place} from './place.js'
import {Pointer} from './pointer.js'
import {makeHandlers} from './replies.js'
import {Scatter} from './scatter.js'
import {Selection} from './selection.js'
import {createState} from './state.js'
import {Strip} from './strip.js'
import {Thumbnails} from './thumbnails.js'

/** The frame of a view; a height of 0 fills the window. */
function makeRoot(height) {
  const root = make('div', {className: 'aeseg-inspector', tabIndex: 0})
  if (height) root.style.height = `${height}px`
  else root.classList.add('whole')
  return root
}

/** Create the parts of a view; a part may use those above it while it is created. */
function createApp(model) {
  const height = model.get('height')
  const app = {state: createState(), root: makeRoot(height), fillsWindow: !height}
  app.kernel = new Kernel(model)
  app.notices = new Notices()
  app.place = new Place(app)
  app.connection = new Connection(app)
  app.thumbnails = new Thumbnails(app)
  app.cases = new Cases(app)
  app.chosen = new Chosen(app)
  app.help = new Help(app)
  app.canvas = new Canvas(app)
  app.pointer = new Pointer(app)
  app.layers = new Layers(app)
  app.controls = new Controls(app)
  app.editor = new Editor(app)
  app.decisions = new Decisions(app)
  app.strip = new Strip(app)
  app.panel = new Panel(app)
  app.gallery = new Gallery(app)
  app.selection = new Selection(app)
  app.scatter = new Scatter(app)
  app.overview = new Overview(app)
  app.tabs = {gallery: app.gallery, selection: app.selection, overview: app.overview}
  app.header = new Header(app, Object.keys(app.tabs))
  app.keyboard = new Keyboard(app)
  return app
}

/** Put the parts into the frame: a header above, a tab at the left, the open case at the right. */
function arrange(app) {
  const {header, notices, panel} = app
  const left = make('div', {className: 'ai-left'})
  const above = make('div', {className: 'ai-above'}, app.connection.element, notices.problems)
  app.root.append(header.element, above, left, panel.element, header.command, app.help.element)
  app.openTab = name => {
    app.state.tab = name
    app.root.dataset.tab = name
    header.mark(name)
    left.replaceChildren(...app.tabs[name].elements)
    app.tabs[name].show()
  }
}

/** Draw again what depends on the size. */
function handleResize(app) {
  if (!app.state.start) return
  if (app.state.tab === 'gallery') app.gallery.draw()
  if (app.state.tab === 'overview') app.scatter.draw()
  app.canvas.draw()
}

/** Request again what may have been lost while there was no connection. */
function catchUp(app) {
  app.cases.requested.clear()
  app.thumbnails.requested.clear()
  app.kernel.request('start')
  app.cases.want(app.state.open)
}

/** Show the inspector in an element; returns a function that ends the view. */
function render({model, el}) {
  const app = createApp(model)
  arrange(app)
  const observer = new ResizeObserver(() => handleResize(app))
  observer.observe(app.root)
  app.catchUp = () => catchUp(app)
  app.kernel.listen(makeHandlers(app), () => app.connection.show())
  el.append(app.root)
  if (app.fillsWindow) app.root.focus({preventScroll: true})
  app.kernel.request('start')
  return () => {
    observer.disconnect()
    for (const part of [app.keyboard, app.kernel, app.connection, app.editor, app.thumbnails]) part.close()
  }
}

export default {render}
