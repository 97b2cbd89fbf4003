// The switchboard, and what begins the page.
'use strict'

const state = { off: new Set(), with: new Set() }

// ---- the switches

function stepOf(name) { return course.steps.find(s => s.name === name) }

// needing are the steps that cannot be on without one, and what needs those.
function needing(name) {
  const out = new Set()
  for (const s of course.steps) {
    if (s.needs.includes(name)) { out.add(s.name); needing(s.name).forEach(n => out.add(n)) }
  }
  return out
}

function fixed(s) { return s.broken ? 'This machine cannot do it: ' + s.broken : s.locked ? 'Stays on here: ' + s.locked : '' }

function drawSwitches() {
  $('steps').replaceChildren(...course.steps.map(s => {
    const why = fixed(s)
    // A switch that cannot be moved is still reached by the keyboard, so that
    // its reason can be read.
    const box = el('input', { type: 'checkbox', role: 'switch', id: 'step-' + s.name, 'aria-describedby': 'about-' + s.name, 'aria-disabled': why ? 'true' : undefined })
    box.addEventListener('click', e => { if (why) { e.preventDefault(); tell(s) } })
    box.addEventListener('change', () => flip(s.name, box.checked))
    box.addEventListener('focus', () => tell(s))
    const row = el('label', { class: 'step' + (why ? ' fixed' : '') }, box, el('span', { class: 'step-name' }, s.name),
      why ? el('span', { class: 'fixed-mark', 'aria-hidden': 'true' }, s.broken ? 'cannot' : 'stays on') : undefined,
      el('span', { class: 'sr', id: 'about-' + s.name }, why || s.summary))
    row.addEventListener('pointerenter', () => tell(s))
    return el('li', {}, row)
  }))
  const keep = stepOf('caps')
  if (keep && keep.locked) {
    $('keep').disabled = true
    $('keep-row').title = 'Stays off: ' + keep.locked
  }
  showSwitches()
}

// tell says below the switches what one is about; the place is there already.
function tell(s) {
  const why = fixed(s)
  $('about').replaceChildren(el('b', { class: 'step-name' }, s.name), ' ' + (why || s.summary + '. Off: ' + s.without +
    (s.needs.length ? '. Needs ' + s.needs.join(', ') : '') + '.'))
}

function isOn(s) { return !s.broken && (s.on_request ? state.with.has(s.name) : !state.off.has(s.name)) }

// flip takes along what needs a step that goes off, and brings what a step needs
// that goes on.
function flip(name, on) {
  const set = (n, to) => {
    const st = stepOf(n)
    if (st.on_request) to ? state.with.add(n) : state.with.delete(n)
    else to ? state.off.delete(n) : state.off.add(n)
  }
  const along = []
  const turn = n => {
    for (const need of stepOf(n).needs) if (!isOn(stepOf(need))) { turn(need); along.push(need) }
    set(n, on)
  }
  if (on) turn(name)
  else {
    set(name, false)
    for (const n of needing(name)) if (isOn(stepOf(n))) { set(n, false); along.push(n) }
  }
  showSwitches(along)
  if (!along.length) say('status', '')
  else if (on) say('status', 'Also on, since ' + name + ' needs it: ' + along.join(', ') + '.')
  else say('status', 'Also off, since it needs ' + name + ': ' + along.join(', ') + '.')
  remember()
  planSoon()
}

function showSwitches(along = []) {
  for (const s of course.steps) {
    const box = $('step-' + s.name)
    if (!box) continue
    box.checked = isOn(s)
    box.closest('label').classList.toggle('along', along.includes(s.name))
  }
}

// request is what the server needs to know of the board.
function request() {
  return {
    // What goes along by itself need not be named: the line stays short.
    off: [...state.off].filter(n => !stepOf(n).needs.some(x => state.off.has(x))),
    with: [...state.with], root: $('root').checked, keep: $('keep').checked, command: $('command').value,
  }
}

// The fragment holds the board: #board?off=uts,net&with=time&root=1&cmd=…
let own = '' // the last fragment that this page wrote itself
function remember() {
  const r = request(), q = new URLSearchParams()
  if (r.off.length) q.set('off', r.off.join(','))
  if (r.with.length) q.set('with', r.with.join(','))
  if (r.root) q.set('root', '1')
  if (r.keep) q.set('keep', '1')
  q.set('cmd', r.command)
  own = '#board?' + q
  history.replaceState(null, '', own)
}

function recall(query) {
  const q = new URLSearchParams(query)
  state.off.clear(); state.with.clear()
  for (const n of (q.get('off') || '').split(',')) {
    const s = stepOf(n)
    if (s && !s.locked && !s.on_request) { state.off.add(n); needing(n).forEach(x => state.off.add(x)) }
  }
  for (const n of (q.get('with') || '').split(',')) if (stepOf(n) && stepOf(n).on_request) state.with.add(n)
  $('root').checked = q.get('root') === '1'
  $('keep').checked = q.get('keep') === '1' && !$('keep').disabled
  if (q.get('cmd')) $('command').value = q.get('cmd')
  showSwitches()
  // A link never runs anything: another person may have written it.
  if (q.get('cmd')) say('status', 'A link has set the switches and the command: read both before you run it.')
}

// ---- a run

function showDrawing(p, of) {
  $('drawing').replaceChildren(p.drawing ?
    document.importNode(new DOMParser().parseFromString(p.drawing, 'image/svg+xml').documentElement, true) :
    el('p', { class: 'why' }, 'No process came to be. ' + p.error))
  $('drawing-of').textContent = of
}

function section(title, note, rows, head) {
  const table = el('table', {})
  if (head) table.append(el('thead', {}, el('tr', {}, ...head.map(h => el('th', { scope: 'col' }, h)))))
  table.append(el('tbody', {}, ...rows.map(r => el('tr', {}, ...r.map(c => c instanceof Node ? el('td', {}, c) : el('td', {}, String(c)))))))
  const was = [...$('view').querySelectorAll('details')].find(d => d.dataset.title === title)
  return el('details', { 'data-title': title, open: was ? was.open : title === 'Namespaces' },
    el('summary', {}, el('b', {}, title), el('span', {}, note)), el('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': title }, table))
}

function showView(v) {
  if (!v) { $('view').replaceChildren(el('p', { class: 'why' }, 'No process came to be, so there is nothing to see.')); return }
  const spaces = v.namespaces.filter(n => n.kind !== 'pid_for_children')
  const own = spaces.filter(n => !n.shared).length
  const ids = (kind, map) => (map || []).map(l => [kind, l.inside, l.outside, l.count])
  const caps = v.capabilities, list = names => (names || []).join(' ') || 'none'
  $('view').replaceChildren(
    section('Namespaces', own + ' of its own', spaces.map(n => [n.kind, n.inode, course.host[n.kind] || '',
      el('span', { class: n.shared ? 'shared' : 'own' }, n.shared ? 'the host’s' : 'its own')]), ['kind', 'inode', 'host', 'whose']),
    section('Ids', 'uid ' + v.uid.inside + ' inside', ids('uid', v.uid_map).concat(ids('gid', v.gid_map)), ['map', 'inside', 'outside', 'count']),
    section('Privileges', (caps.effective || []).length ? caps.effective.length + ' capabilities' : 'no capability', [
      ['effective', list(caps.effective)], ['permitted', (caps.permitted || []).length + ' of ' + caps.known], ['bounding', (caps.bounding || []).length + ' of ' + caps.known],
      ['no_new_privs', v.no_new_privs ? '1' : '0'], ['seccomp', v.seccomp.mode], ['Landlock', v.landlock.state]]),
    section('Processes', (v.processes || []).length + ' seen', (v.processes || []).map(p => [p.pid, p.comm]), ['pid', 'name']),
    section('Mounts', String((v.mounts || []).length), (v.mounts || []).map(m => [m.target, m.fstype, m.read_only ? 'ro' : 'rw']), ['target', 'type', 'mode']),
    section('Network', (v.interfaces || []).map(i => i.name).join(', ') || 'none', (v.interfaces || []).map(i => [i.name, (i.addresses || []).join(' ')]), ['interface', 'addresses']),
    section('Open files', String((v.fds || []).length), (v.fds || []).map(f => [f.fd, f.target, f.access]), ['fd', 'target', 'access']),
    section('Environment', (v.environment || []).length + ' names', (v.environment || []).map(e => [e.name])))
}

function showLook(p, of) {
  showDrawing(p, of)
  showView(p.view)
  times = new Map(p.trace.map(t => [t.step, t]))
  showPlan()
}

async function run() {
  remember()
  clearTimeout(planTimer)
  plan()
  const done = await busy('status', 'Running', signal => call('run', request(), signal))
  if (!done) return
  say('status', 'Done' + (done.waited ? '; ' + done.waited + ' stood before in the queue' : '') + '.')
  $('panes').replaceChildren(...done.panes.map(p => paneOf(p, true)))
  $('found').replaceChildren(...changesOf(done.changes))
  showLook(done.panes[0], 'of the run on the left')
}

// ---- the plan

let times = new Map(), planned = [], planTimer
function planSoon() { clearTimeout(planTimer); planTimer = setTimeout(() => plan().then(look), 250) }

let planning
async function plan() {
  planning?.abort()
  const mine = planning = new AbortController()
  let p
  try {
    p = await call('plan', request(), mine.signal)
  } catch (e) {
    if (e.name !== 'AbortError' && mine === planning) $('plan').replaceChildren(el('p', { class: 'why' }, e.message))
    return
  }
  if (mine !== planning) return
  planned = p.calls
  $('line').textContent = p.line
  $('also').textContent = p.also.length ? 'Goes along with what is off: ' + p.also.join(', ') + '.' : ''
  $('unshare').textContent = p.unshare
  $('bwrap').textContent = p.bwrap
  showPlan()
}

// look has the boxes drawn as the switches are, of a process that does nothing:
// what a link or a finger has put into the command box is not run.
async function look() {
  if (running.status || running.look) return
  running.look = true
  const asked = JSON.stringify({ ...request(), command: 'true' })
  try {
    const done = await call('look', JSON.parse(asked))
    showLook(done.panes[0], 'as switched now')
  } catch {
    // The plan says what is wrong with the switches.
  } finally {
    delete running.look
  }
  if (asked !== JSON.stringify({ ...request(), command: 'true' })) planSoon()
}

function showPlan() {
  const groups = []
  for (const c of planned) {
    if (groups.at(-1)?.step !== c.step) groups.push({ step: c.step, calls: [] })
    groups.at(-1).calls.push(c.call)
  }
  const seen = new Set(), open = new Set([...$('plan').querySelectorAll('details[open]')].map(d => d.dataset.step))
  $('plan').replaceChildren(...groups.map(g => {
    const first = !seen.has(g.step), t = first && times.get(g.step)
    seen.add(g.step)
    return el('details', { 'data-step': g.step, open: open.has(g.step) && first }, el('summary', {}, el('span', { class: 'step-name' }, g.step),
      el('span', {}, g.calls.length + (g.calls.length === 1 ? ' call' : ' calls')),
      el('span', { class: 'time' }, t ? Math.round(t.microseconds) + ' µs' : '')), el('pre', {}, g.calls.join('\n')))
  }))
}

// ---- views

function route() {
  const [path, query] = location.hash.slice(1).split('?')
  const [view, id] = (path || 'board').split('/')
  if (!['board', 'lessons', 'lesson'].includes(view)) { location.hash = '#board'; return }
  for (const name of ['board', 'lessons', 'lesson']) $(name).hidden = name !== view
  for (const [link, here] of [['to-board', view === 'board'], ['to-lessons', view !== 'board']]) {
    here ? $(link).setAttribute('aria-current', 'page') : $(link).removeAttribute('aria-current')
  }
  document.title = (view === 'board' ? 'Switchboard' : 'Lessons') + ' · sbx classroom'
  if (view === 'board') {
    if (query && location.hash !== own) recall(query)
    plan().then(look)
  }
  if (view === 'lessons') drawLessons()
  if (view === 'lesson' && id) openLesson(id)
}

function showName(edit) {
  $('name-form').hidden = Boolean(course.name) && !edit
  $('name-known').hidden = !$('name-form').hidden
  $('name-shown').textContent = course.name
  if (edit) { $('name').value = course.name; $('name').focus() }
}

async function begin() {
  try {
    course = await call('course')
  } catch (e) {
    $('main').prepend(el('p', { class: 'notice', role: 'alert' }, e.message))
    return
  }
  showName()
  drawSwitches()
  drawLessons()
  $('panes').replaceChildren(...empty('as switched', 'every step on'))
  $('all-on').addEventListener('click', () => { state.off.clear(); state.with.clear(); showSwitches(); say('status', ''); remember(); planSoon() })
  for (const id of ['root', 'keep']) $(id).addEventListener('change', () => { remember(); planSoon() })
  $('command').addEventListener('input', () => { remember(); planSoon() })
  $('run-form').addEventListener('submit', e => { e.preventDefault(); run() })
  $('examples').addEventListener('change', e => {
    if (!e.target.value) return
    $('command').value = e.target.value
    e.target.value = ''
    remember()
    planSoon()
    $('command').focus()
  })
  for (const b of document.querySelectorAll('.copy')) b.addEventListener('click', () => copy($(b.dataset.from).textContent, b))
  $('larger').addEventListener('click', e => {
    const large = $('larger').closest('.pair').classList.toggle('large')
    e.target.setAttribute('aria-pressed', String(large))
  })
  $('share').addEventListener('click', e => { remember(); copy(location.href, e.target) })
  $('predict').addEventListener('submit', predict)
  $('experiment').addEventListener('click', () => experiment(''))
  $('box-form').addEventListener('submit', e => { e.preventDefault(); experiment($('box-command').value) })
  $('check-form').addEventListener('submit', check)
  $('hint').addEventListener('click', hint)
  $('again').addEventListener('click', again)
  $('name-form').addEventListener('submit', async e => {
    e.preventDefault()
    try {
      course.name = (await call('name', { name: $('name').value })).name
      say('name-state', '')
      showName()
      $('name-change').focus()
    } catch (err) { say('name-state', err.message, true) }
  })
  $('name-change').addEventListener('click', () => showName(true))
  addEventListener('hashchange', route)
  // g then b or l goes to a view, r runs, / goes to the command: anywhere but in
  // a field.
  let last = ''
  addEventListener('keydown', e => {
    if (e.target.closest('input:not([type=checkbox]):not([type=radio]), textarea, select') || e.ctrlKey || e.metaKey || e.altKey) return
    if (last === 'g' && e.key === 'b') location.hash = own || '#board'
    else if (last === 'g' && e.key === 'l') location.hash = '#lessons'
    else if (e.key === 'r' && !$('board').hidden) run()
    else if (e.key === '/' && !$('board').hidden) { e.preventDefault(); $('command').focus() }
    last = e.key
  })
  route()
}

begin()
