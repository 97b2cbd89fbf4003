// What both views of the page use: elements, calls of the server, runs that can
// wait, and how a run is shown. What a command printed is only ever set as text.
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

// ---- a run that is awaited

function say(id, text, bad) {
  $(id).textContent = text
  $(id).classList.toggle('bad', Boolean(bad))
}

// busy awaits work of the server. After 300 ms it says how long it takes, and how
// many runs stand before; a second call ends the first.
const running = {}
async function busy(id, what, work) {
  running[id]?.abort()
  const control = running[id] = new AbortController()
  const began = performance.now()
  let ahead = -1, shown = ''
  const tell = () => {
    const seconds = Math.round((performance.now() - began) / 1000)
    const text = ahead === 0 ? 'Waiting: yours is the next.' : ahead > 0 ? 'Waiting: ' + ahead + (ahead === 1 ? ' run is' : ' runs are') + ' before yours.' : what + (seconds ? ' … ' + seconds + ' s' : ' …')
    // A screen reader hears each change: every 5 seconds is enough.
    if (text !== shown && (shown === '' || ahead >= 0 || seconds % 5 === 0)) say(id, shown = text)
  }
  const first = setTimeout(tell, 300)
  const timer = setInterval(async () => {
    const q = await call('queue', undefined, control.signal).catch(() => undefined)
    if (running[id] !== control) return
    ahead = q ? q.ahead : -1
    tell()
  }, 1000)
  const stop = () => { clearTimeout(first); clearInterval(timer) }
  try {
    const done = await work(control.signal)
    if (running[id] === control) say(id, '')
    return running[id] === control ? done : undefined
  } catch (e) {
    if (e.name !== 'AbortError' && running[id] === control) say(id, e.message, true)
    return undefined
  } finally {
    stop()
    if (running[id] === control) delete running[id]
  }
}

// ---- what a run gave

function paneOf(p, other) {
  const good = p.code === 0
  const output = el('div', { class: 'output', tabindex: '0', role: 'region', 'aria-label': 'Output, ' + p.title })
  if (!p.output.length) output.append(el('div', { class: 'none' }, p.error ? 'No CMD ran. ' + p.error : 'Nothing was printed.'))
  for (const l of p.output) {
    const differs = other && !l.same
    output.append(el('div', { class: differs ? 'differs' : undefined }, differs ? el('span', { class: 'sr' }, 'differs: ') : '', l.text || ' '))
  }
  if (p.cut) output.append(el('div', { class: 'none' }, '… and more, which is not shown.'))
  const said = p.said.concat(p.hint ? ['hint: ' + p.hint] : [])
  return el('section', { class: 'pane' },
    el('header', {}, el('h4', {}, p.title), el('span', { class: 'end ' + (good ? 'good' : 'bad') }, p.end)),
    p.line ? el('code', { class: 'ran' }, p.line) : undefined, output, said.length ? el('p', { class: 'said' }, said.join('\n')) : undefined)
}

function changesOf(changes) {
  if (!changes.length) return [el('p', { class: 'why' }, 'Nothing: for the kernel the two processes are isolated alike.')]
  const items = changes.map(c => el('li', {}, el('span', { class: 'step-name' }, c.step), ' ' + c.sentence))
  return [el('ul', {}, ...items)]
}

// empty are panes that keep the place of those to come.
function empty(...titles) {
  return titles.map(t => el('section', { class: 'pane' }, el('header', {}, el('h4', {}, t)),
    el('div', { class: 'output' }, el('div', { class: 'none' }, 'Not run yet.'))))
}

async function copy(text, button) {
  const before = button.textContent
  try {
    await navigator.clipboard.writeText(text)
    button.textContent = 'Copied'
  } catch {
    // Without https the clipboard is only there for what is selected.
    const field = el('textarea', { readonly: true, class: 'sr', 'aria-hidden': 'true' })
    field.value = text
    document.body.append(field)
    field.select()
    button.textContent = document.execCommand('copy') ? 'Copied' : 'Not possible here'
    field.remove()
    button.focus()
  }
  setTimeout(() => { button.textContent = before }, 1500)
}
