// The list of lessons and a lesson: predict, experiment, exercise.
'use strict'

let lesson, hints = [], given = 0

function drawLessons() {
  const done = course.lessons.filter(l => l.done).length
  $('progress').textContent = done + ' of ' + course.lessons.length + ' done. Each takes 5 to 15 minutes.'
  $('bar').max = course.lessons.length
  $('bar').value = done
  $('lesson-list').replaceChildren(...course.lessons.map(l => el('li', {},
    el('a', { href: '#lesson/' + l.id }, el('span', { class: 'number' }, String(l.number)), el('span', { class: 'title' }, l.title),
      l.done ? el('span', { class: 'done' }, '✓ done') : el('span', {}), el('span', { class: 'meta' },
        l.minutes + ' minutes' + (l.steps.length > 4 ? ' · ' + l.steps.length + ' steps' : l.steps.length ? ' · ' + l.steps.join(', ') : '') +
        (l.refused ? ' · exercise on your own machine' : ''))))))
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
  $('text').querySelectorAll('pre').forEach(p => p.setAttribute('tabindex', '0'))
  scrollTo(0, 0)
  drawQuestion()
  $('again').textContent = 'Begin anew'
  for (const id of ['experiment-found', 'findings', 'hints']) $(id).replaceChildren()
  $('experiment-panes').replaceChildren(...(l.word ? empty('in the box') : l.on.startsWith('sbx run ') ? empty('without', 'with') : empty('first', 'then')))
  for (const id of ['experiment-status', 'check-status']) say(id, '')
  $('experiment').disabled = true
  $('experiment').hidden = l.word || !l.off
  $('experiment-why').hidden = l.word || !l.off
  $('experiment-card').hidden = !l.word && !l.off
  $('box-form').hidden = !l.word
  $('experiment-board').href = l.word ? '#board' : '#board?' + new URLSearchParams({ off: l.steps.join(',') })
  $('experiment-board').textContent = l.word ? 'The switchboard, to compare' : 'Open in the switchboard'
  $('task').replaceChildren()
  $('task').replaceChildren(...l.task.split('\n\n').map(t => t.startsWith('    ') ? el('pre', {}, t.replace(/^ {4}/gm, '')) : el('p', {}, ...codeOf(t))))
  $('answer-label').textContent = l.file ? 'Your answer, the file ' + l.file : l.word ? 'Your answer, the name of a step' : 'Your answer, one line'
  $('answer').hidden = Boolean(l.file)
  $('answer-file').hidden = !l.file
  answerField().value = l.answer
  answerField().disabled = $('check').disabled = Boolean(l.refused)
  if (l.refused) say('check-status', 'This exercise cannot be done here: ' + l.refused, true)
  $('hint').hidden = $('next').hidden = $('answer-pane').hidden = true
}

// answerField is where the answer is typed: a line, or a file.
function answerField() { return $(lesson.file ? 'answer-file' : 'answer') }

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
  let r
  try {
    r = await call('predict', { lesson: lesson.id, choice: Number(chosen.value) })
  } catch (e) { $('predict-result').textContent = e.message; return }
  $('predict-result').replaceChildren(el('span', { class: 'verdict ' + (r.right ? 'good' : 'bad') }, r.right ? '✓ Right. ' : '✗ Not so. '),
    r.right ? 'Now see it happen.' : el('span', {}, ...codeOf(r.answer)))
  $('experiment').disabled = false
  $('experiment-why').hidden = true
}

async function experiment(command) {
  const done = await busy('experiment-status', 'Running', signal => call('experiment', { lesson: lesson.id, command }, signal))
  if (!done) return
  $('experiment-panes').replaceChildren(...done.panes.map(p => paneOf(p, done.panes.length > 1)))
  $('experiment-found').replaceChildren(...(done.panes.length > 1 && done.changes ? [el('h3', {}, 'What differs for the kernel, on the right'), ...changesOf(done.changes)] : []))
}

async function check(event) {
  event.preventDefault()
  const r = await busy('check-status', 'Checking', signal => call('check', { lesson: lesson.id, answer: answerField().value }, signal))
  if (!r) return
  say('check-status', r.passed ? '✓ Right.' : r.error ? r.error : 'Not yet.', !r.passed)
  $('findings').replaceChildren(...r.findings.map(f => el('li', { class: f.ok ? 'good' : 'bad' }, f.want,
    f.got ? el('span', { class: 'got' }, 'seen: ' + f.got) : undefined)))
  $('answer-pane').hidden = !r.pane
  if (r.pane) $('answer-pane').replaceChildren(paneOf(r.pane))
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

// again begins a lesson anew: its files, and in the capstone another step.
async function again() {
  try {
    await call('reset', { lesson: lesson.id })
    await openLesson(lesson.id)
    say('check-status', 'The files of this lesson are as they were at first.')
  } catch (e) { say('check-status', e.message, true) }
}
