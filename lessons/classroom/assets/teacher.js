// The teacher's view: who has done which lesson. It asks again every 5 seconds.
'use strict'

const cell = (name, text, attributes = {}) => {
  const e = document.createElement(name)
  e.textContent = text
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v)
  return e
}

async function show() {
  const status = document.getElementById('status')
  let data
  try {
    const answer = await fetch('/api/teacher', { credentials: 'same-origin' })
    data = await answer.json()
    if (!answer.ok) throw new Error(data.error)
  } catch (e) {
    status.textContent = 'The classroom does not answer: ' + e.message
    return
  }
  const n = data.students.length
  const text = n === 0 ? 'Nobody has typed a name yet.' : n + (n === 1 ? ' student.' : ' students.') + ' ✓ done, a number: tries so far.'
  if (status.textContent !== text) status.textContent = text // or it is read out every time
  const head = document.createElement('tr')
  head.append(cell('th', 'Name', { scope: 'col' }), cell('th', 'Done', { scope: 'col' }))
  for (const l of data.lessons) head.append(cell('th', String(l.number), { scope: 'col', title: l.title, 'aria-label': l.number + ', ' + l.title }))
  const rows = data.students.map(s => {
    const row = document.createElement('tr')
    row.append(cell('th', s.name, { scope: 'row' }), cell('td', Object.keys(s.done).length + ' of ' + data.lessons.length))
    for (const l of data.lessons) {
      const text = s.done[l.id] ? '✓' : s.tries[l.id] ? String(s.tries[l.id]) : '·'
      const said = s.done[l.id] ? 'done' : s.tries[l.id] ? s.tries[l.id] + ' tries' : 'not tried'
      row.append(cell('td', text, { title: l.title, 'aria-label': said, class: s.done[l.id] ? 'done' : '' }))
    }
    return row
  })
  const thead = document.createElement('thead'), tbody = document.createElement('tbody')
  thead.append(head)
  tbody.append(...rows)
  const tfoot = document.createElement('tfoot'), sum = document.createElement('tr')
  sum.append(cell('th', 'Have done it', { scope: 'row' }), cell('td', ''))
  for (const l of data.lessons) sum.append(cell('td', String(data.students.filter(s => s.done[l.id]).length)))
  tfoot.append(sum)
  document.getElementById('table').replaceChildren(thead, tbody, tfoot)
}

show()
setInterval(show, 5000)
