// The page of sbx classroom: the switchboard, the list of lessons and a lesson.
// What a command printed is only ever set as text.
'use strict'

const $ = id => document.getElementById(id)

// el makes an element: attributes, then children, which are elements or text.
function el(name, attributes = {}, ...children) {
  const e = document.createElement(name)
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue
    if (key.startsWith('on')) e.addEventListener(key.slice(2), value)
    else e.setAttribute(key, value === true ? '' : value)
  }
  e.append(...children.filter(c => c !== undefined && c !== null))
  return e
}

// call asks the server. A refusal becomes an Error with the server's sentence.
async function call(path, body, signal) {
  const how = body === undefined ? {} : { method: 'POST', body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' } }
  let answer
  try {
    answer = await fetch('/api/' + path, { ...how, signal, credentials: 'same-origin' })
  } catch (e) {
    if (e.name === 'AbortError') throw e
    throw new Error('The classroom does not answer: has it been ended?')
  }
  const data = await answer.json().catch(() => ({ error: 'The classroom gave no answer that can be read (' + answer.status + ').' }))
  if (!answer.ok) throw new Error(data.error)
  return data
}

let course
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

function drawSwitches() {
  const list = $('steps')
  list.replaceChildren(...course.steps.map(s => {
    const why = s.broken ? 'This machine cannot: ' + s.broken : s.locked ? 'Stays on: ' + s.locked : ''
    const box = el('input', { type: 'checkbox', role: 'switch', id: 'step-' + s.name, 'aria-describedby': 'why-' + s.name, disabled: Boolean(why) })
    box.addEventListener('change', () => flip(s.name, box.checked))
    return el('li', {}, el('label', { class: 'step', title: s.summary }, box, el('span', { class: 'step-name' }, s.name),
      el('span', { class: 'why', id: 'why-' + s.name }, why || s.summary)))
  }))
  const keep = stepOf('caps')
  if (keep && keep.locked) {
    $('keep').disabled = true
    $('keep-why').hidden = false
    $('keep-why').textContent = 'Stays off: ' + keep.locked
  }
  showSwitches()
}

function isOn(s) { return s.on_request ? state.with.has(s.name) : !state.off.has(s.name) }

// flip takes along what needs a step that goes off, and brings what a step needs
// that goes on.
function flip(name, on) {
  const s = stepOf(name)
  const set = (n, to) => {
    const st = stepOf(n)
    if (st.on_request) to ? state.with.add(n) : state.with.delete(n)
    else to ? state.off.delete(n) : state.off.add(n)
  }
  set(name, on)
  const along = []
  if (on) {
    for (const need of s.needs) if (!isOn(stepOf(need))) { flip(need, true); along.push(need) }
  } else {
    for (const n of needing(name)) if (isOn(stepOf(n))) { set(n, false); along.push(n) }
  }
  showSwitches()
  if (along.length) {
    const verb = on ? ' on too: ' + name + ' needs ' : ' off too, without '
    say('status', 'Switched' + verb + (on ? along.join(', ') : name + ': ' + along.join(', ')))
  }
  remember()
  planSoon()
}

function showSwitches() {
  for (const s of course.steps) {
    const box = $('step-' + s.name)
    if (box) box.checked = isOn(s) && !s.broken
  }
}

// request is what the server needs to know of the board.
function request() {
  return {
    // What goes along by itself need not be named: the line stays short.
    off: [...state.off].filter(n => !course.steps.some(s => s.name === n && s.needs.some(x => state.off.has(x)))),
    with: [...state.with], root: $('root').checked, keep: $('keep').checked, command: $('command').value,
  }
}

// The fragment holds the board: #board?off=uts,net&with=time&root=1&cmd=…
function remember() {
  const r = request(), q = new URLSearchParams()
  if (r.off.length) q.set('off', r.off.join(','))
  if (r.with.length) q.set('with', r.with.join(','))
  if (r.root) q.set('root', '1')
  if (r.keep) q.set('keep', '1')
  q.set('cmd', r.command)
  history.replaceState(null, '', '#board?' + q)
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
}

// ---- a run

function say(id, text, bad) {
  $(id).textContent = text
  $(id).classList.toggle('bad', Boolean(bad))
}

// busy runs something with its buttons off and says how long it takes; a second
// call ends the first.
const running = {}
async function busy(id, what, work) {
  running[id]?.abort()
  const control = running[id] = new AbortController()
  const began = performance.now()
  const timer = setInterval(() => say(id, what + ' … ' + Math.round((performance.now() - began) / 1000) + ' s'), 500)
  try {
    return await work(control.signal)
  } catch (e) {
    if (e.name !== 'AbortError') { clearInterval(timer); say(id, e.message, true) }
    return undefined
  } finally {
    clearInterval(timer)
    if (running[id] === control) delete running[id]
  }
}

function paneOf(p, other) {
  const good = p.code === 0
  const output = el('div', { class: 'output', tabindex: '0', role: 'region', 'aria-label': 'Output, ' + p.title })
  if (!p.output.length) output.append(el('div', { class: 'none' }, p.error ? p.error : '(no output)'))
  for (const l of p.output) {
    const differs = other && !l.same
    output.append(el('div', { class: differs ? 'differs' : undefined }, differs ? el('span', { class: 'skip' }, 'differs: ') : '', l.text || ' '))
  }
  if (p.cut) output.append(el('div', { class: 'none' }, '… more than is shown'))
  const said = p.said.concat(p.hint ? ['hint: ' + p.hint] : [])
  return el('section', { class: 'pane' },
    el('header', {}, el('h4', {}, p.title), el('span', { class: 'end ' + (good ? 'good' : 'bad') }, p.end)),
    output, said.length ? el('p', { class: 'said' }, said.join('\n')) : undefined)
}

function changesOf(changes) {
  if (!changes.length) return [el('h3', {}, 'What differs'), el('p', { class: 'why' }, 'For the kernel the two processes are isolated alike.')]
  const items = changes.map(c => el('li', {}, el('span', { class: 'step-name' }, c.step), ' ' + c.sentence))
  return [el('h3', {}, 'What differs for the kernel, on the right'), el('ul', {}, ...items)]
}

function showDrawing(svg) {
  const doc = new DOMParser().parseFromString(svg, 'image/svg+xml')
  if (doc.documentElement.nodeName === 'svg') $('drawing').replaceChildren(document.importNode(doc.documentElement, true))
}

function section(title, note, rows, head) {
  const table = el('table', {})
  if (head) table.append(el('thead', {}, el('tr', {}, ...head.map(h => el('th', { scope: 'col' }, h)))))
  table.append(el('tbody', {}, ...rows.map(r => el('tr', {}, ...r.map(c => c instanceof Node ? el('td', {}, c) : el('td', {}, String(c)))))))
  return el('details', {}, el('summary', {}, el('b', {}, title + ' '), el('span', {}, note)), el('div', { class: 'scroll' }, table))
}

function showView(v) {
  if (!v) { $('view').replaceChildren(el('p', { class: 'why' }, 'No process came to be, so there is nothing to see.')); return }
  const map = m => (m || []).map(l => [l.inside, l.outside, l.count])
  const own = v.namespaces.filter(n => !n.shared && n.kind !== 'pid_for_children').length
  const caps = v.capabilities
  const first = section('Namespaces', own + ' of its own', v.namespaces.filter(n => n.kind !== 'pid_for_children').map(n =>
    [n.kind, n.inode, el('span', { class: n.shared ? 'shared' : 'own' }, n.shared ? 'the host’s' : 'its own')]), ['kind', 'inode', 'whose'])
  first.open = true
  $('view').replaceChildren(first,
    section('Ids', 'uid ' + v.uid.inside + ' inside', map(v.uid_map).map(r => ['uid', ...r]).concat(map(v.gid_map).map(r => ['gid', ...r])), ['map', 'inside', 'outside', 'count']),
    section('Privileges', (caps.effective || []).length ? caps.effective.length + ' capabilities' : 'none', [
      ['effective', (caps.effective || []).join(' ') || 'none'], ['bounding', (caps.bounding || []).length + ' of ' + caps.known],
      ['no_new_privs', v.no_new_privs ? '1' : '0'], ['seccomp', v.seccomp.mode], ['Landlock', v.landlock.state]]),
    section('Processes', (v.processes || []).length + ' seen', (v.processes || []).map(p => [p.pid, p.comm]), ['pid', 'name']),
    section('Mounts', (v.mounts || []).length + '', (v.mounts || []).map(m => [m.target, m.fstype, m.read_only ? 'ro' : 'rw']), ['target', 'type', 'mode']),
    section('Network', (v.interfaces || []).map(i => i.name).join(', ') || 'none', (v.interfaces || []).map(i => [i.name, (i.addresses || []).join(' ')]), ['interface', 'addresses']),
    section('Open files', (v.fds || []).length + '', (v.fds || []).map(f => [f.fd, f.target, f.access]), ['fd', 'target', 'access']),
    section('Environment', (v.environment || []).length + ' names', (v.environment || []).map(e => [e.name])))
}

async function run() {
  remember()
  const done = await busy('status', 'Running', signal => call('run', request(), signal))
  if (!done) return
  say('status', 'Done' + (done.waited ? '; ' + done.waited + ' stood before in the queue' : '') + '.')
  $('panes').replaceChildren(...done.panes.map(p => paneOf(p, true)))
  $('found').replaceChildren(...changesOf(done.changes))
  const left = done.panes[0]
  if (left.drawing) showDrawing(left.drawing)
  else $('drawing').replaceChildren(el('p', { class: 'why' }, 'No process came to be, so there is nothing to draw.'))
  showView(left.view)
  times = new Map(left.trace.map(t => [t.step, t]))
  showPlan()
}

// ---- the plan

let times = new Map(), planned = [], planTimer
function planSoon() { clearTimeout(planTimer); planTimer = setTimeout(plan, 250) }

async function plan() {
  let p
  try {
    p = await call('plan', request())
  } catch (e) {
    $('plan').replaceChildren(el('p', { class: 'why' }, e.message))
    return
  }
  planned = p.calls
  $('line').textContent = p.line
  $('also').textContent = p.also.length ? 'Goes along with what is off: ' + p.also.join(', ') + '.' : ''
  $('unshare').textContent = p.unshare
  $('bwrap').textContent = p.bwrap
  showPlan()
}

function showPlan() {
  const groups = []
  for (const c of planned) {
    if (groups.at(-1)?.step !== c.step) groups.push({ step: c.step, calls: [] })
    groups.at(-1).calls.push(c.call)
  }
  const seen = new Set()
  $('plan').replaceChildren(...groups.map(g => {
    const t = !seen.has(g.step) && times.get(g.step)
    seen.add(g.step)
    return el('details', {}, el('summary', {}, el('span', { class: 'step-name' }, g.step),
      el('span', {}, g.calls.length + (g.calls.length === 1 ? ' call' : ' calls')),
      el('span', { class: 'time' }, t ? Math.round(t.microseconds) + ' µs' : '')), el('pre', {}, g.calls.join('\n')))
  }))
}

async function copy(text, button) {
  const before = button.textContent
  try {
    await navigator.clipboard.writeText(text)
    button.textContent = 'Copied'
  } catch {
    button.textContent = 'Select and copy by hand'
  }
  setTimeout(() => { button.textContent = before }, 1500)
}

// ---- lessons

let lesson, hints = [], given = 0

function drawLessons() {
  const done = course.lessons.filter(l => l.done).length
  $('progress').textContent = done + ' of ' + course.lessons.length + ' done. Each takes 5 to 15 minutes.'
  $('lesson-list').replaceChildren(...course.lessons.map(l => el('li', {},
    el('a', { href: '#lesson/' + l.id }, el('span', { class: 'number' }, String(l.number)), el('span', { class: 'title' }, l.title),
      l.done ? el('span', { class: 'done' }, '✓ done') : el('span', {}), el('span', { class: 'meta' },
        l.minutes + ' minutes' + (l.steps.length ? ' · ' + l.steps.join(', ') : '') + (l.refused ? ' · on your own machine' : ''))))))
}

async function openLesson(id) {
  let l
  try {
    l = await call('lesson/' + encodeURIComponent(id))
  } catch (e) {
    $('text').replaceChildren(el('p', {}, e.message))
    return
  }
  lesson = l
  // The README's HTML is the server's own, rendered without raw HTML.
  const doc = new DOMParser().parseFromString(l.html, 'text/html')
  $('text').replaceChildren(...doc.body.childNodes)
  document.title = l.title + ' · sbx classroom'
  drawQuestion()
  for (const id of ['experiment-panes', 'experiment-found', 'findings', 'hints']) $(id).replaceChildren()
  for (const id of ['experiment-status', 'check-status']) say(id, '')
  $('experiment').disabled = true
  $('experiment').hidden = l.word || !l.off
  $('experiment-why').hidden = l.word || !l.off
  $('experiment-card').hidden = !l.word && !l.off
  $('box-form').hidden = !l.word
  const query = new URLSearchParams({ off: l.steps.join(',') })
  $('experiment-board').href = '#board?' + query
  $('task').replaceChildren(...l.task.split('\n\n').map(t => el('p', {}, ...codeOf(t))))
  $('answer').value = l.answer
  $('answer').disabled = $('check').disabled = Boolean(l.refused)
  if (l.refused) say('check-status', 'This exercise cannot be done here: ' + l.refused, true)
  $('hint').hidden = $('next').hidden = true
}

// codeOf sets what stands in backquotes as code.
function codeOf(text) {
  return text.split('`').map((part, i) => i % 2 ? el('code', {}, part) : part.replace(/\n/g, ' '))
}

function drawQuestion() {
  const set = el('fieldset', {}, el('legend', {}, ...codeOf(lesson.question)), ...lesson.choices.map((c, i) =>
    el('label', { class: 'choice' }, el('input', { type: 'radio', name: 'choice', value: i }), el('span', {}, ...codeOf(c)))))
  $('predict').replaceChildren(set, el('button', {}, 'That is my guess'))
  $('predict-result').replaceChildren()
}

async function predict(event) {
  event.preventDefault()
  const chosen = $('predict').querySelector('input:checked')
  if (!chosen) { $('predict-result').textContent = 'Choose one first.'; return }
  const r = await call('predict', { lesson: lesson.id, choice: Number(chosen.value) })
  $('predict-result').replaceChildren(el('span', { class: 'verdict ' + (r.right ? 'good' : 'bad') }, r.right ? '✓ Right. ' : '✗ Not so. '),
    r.right ? 'Now see it happen.' : el('span', {}, ...codeOf(r.answer)))
  $('experiment').disabled = false
  $('experiment-why').hidden = true
}

async function experiment(command) {
  const done = await busy('experiment-status', 'Running', signal => call('experiment', { lesson: lesson.id, command }, signal))
  if (!done) return
  say('experiment-status', '')
  $('experiment-panes').replaceChildren(...done.panes.map(p => paneOf(p, done.panes.length > 1)))
  $('experiment-found').replaceChildren(...(done.panes.length > 1 ? changesOf(done.changes) : []))
}

async function check(event) {
  event.preventDefault()
  const r = await busy('check-status', 'Checking', signal => call('check', { lesson: lesson.id, answer: $('answer').value }, signal))
  if (!r) return
  say('check-status', r.passed ? '✓ Right.' : r.error ? r.error : 'Not yet.', !r.passed)
  $('findings').replaceChildren(...r.findings.map(f => el('li', { class: f.ok ? 'good' : 'bad' }, f.want,
    f.got ? el('span', { class: 'got' }, 'seen: ' + f.got) : undefined)))
  hints = r.hints; given = 0
  $('hints').replaceChildren()
  $('hint').hidden = r.passed || !hints.length
  $('hint').textContent = 'A hint'
  $('next').hidden = !r.passed
  if (!r.passed) return
  const l = course.lessons.find(x => x.id === lesson.id)
  if (l) l.done = true
  drawLessons()
  $('next').replaceChildren(lesson.next ? el('a', { href: '#lesson/' + lesson.next }, 'The next lesson') : 'That was the last lesson.')
}

function hint() {
  if (given < hints.length) $('hints').append(el('li', {}, ...codeOf(hints[given++])))
  if (given >= hints.length) $('hint').hidden = true
  else $('hint').textContent = 'Another hint'
}

// ---- views

function route() {
  const [path, query] = location.hash.slice(1).split('?')
  const [view, id] = (path || 'board').split('/')
  for (const name of ['board', 'lessons', 'lesson']) $(name).hidden = name !== view
  if (!['board', 'lessons', 'lesson'].includes(view)) { location.hash = '#board'; return }
  $('to-board').toggleAttribute('aria-current', view === 'board')
  $('to-lessons').toggleAttribute('aria-current', view !== 'board')
  document.title = 'sbx classroom'
  if (view === 'board') { if (query) recall(query); plan() }
  if (view === 'lessons') drawLessons()
  if (view === 'lesson' && id) openLesson(id)
}

async function begin() {
  try {
    course = await call('course')
  } catch (e) {
    $('main').prepend(el('p', { class: 'notice' }, e.message))
    return
  }
  $('name').value = course.name
  drawSwitches()
  drawLessons()
  $('all-on').addEventListener('click', () => { state.off.clear(); state.with.clear(); showSwitches(); remember(); planSoon() })
  for (const id of ['root', 'keep']) $(id).addEventListener('change', () => { remember(); planSoon() })
  $('command').addEventListener('input', planSoon)
  $('run-form').addEventListener('submit', e => { e.preventDefault(); run() })
  for (const b of document.querySelectorAll('.example')) b.addEventListener('click', () => { $('command').value = b.textContent; run() })
  for (const b of document.querySelectorAll('.copy')) b.addEventListener('click', () => copy($(b.dataset.from).textContent, b))
  $('share').addEventListener('click', e => { remember(); copy(location.href, e.target) })
  $('predict').addEventListener('submit', predict)
  $('experiment').addEventListener('click', () => experiment(''))
  $('box-form').addEventListener('submit', e => { e.preventDefault(); experiment($('box-command').value) })
  $('check-form').addEventListener('submit', check)
  $('hint').addEventListener('click', hint)
  $('again').addEventListener('click', async () => {
    await call('reset', { lesson: lesson.id }).catch(() => {})
    openLesson(lesson.id)
  })
  $('name-form').addEventListener('submit', async e => {
    e.preventDefault()
    try {
      $('name').value = (await call('name', { name: $('name').value })).name
      $('name-state').textContent = 'Saved'
    } catch (err) { $('name-state').textContent = err.message }
  })
  addEventListener('hashchange', route)
  // g then b or l goes to a view; r runs; anywhere but in a field.
  let last = ''
  addEventListener('keydown', e => {
    if (e.target.closest('input:not([type=checkbox]), textarea') || e.ctrlKey || e.metaKey || e.altKey) return
    if (last === 'g' && e.key === 'b') location.hash = '#board'
    else if (last === 'g' && e.key === 'l') location.hash = '#lessons'
    else if (e.key === 'r' && !$('board').hidden) run()
    last = e.key
  })
  route()
}

begin()
