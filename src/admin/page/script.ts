/**
 * What the page does in a browser, in plain JavaScript: every five seconds it puts the page as it is now in the place of the one
 * before, and it sends what the buttons are for. The token is typed once and kept for this tab; it goes nowhere but into the
 * Authorization field, which no other site can make a browser send.
 */
export const SCRIPT = `
(() => {
  'use strict'
  const EVERY_MS = 5000
  const KEY = 'spillway-token'
  const root = document.documentElement
  root.classList.add('js')
  const at = (id) => document.getElementById(id)
  const say = (text) => { at('said').textContent = text }
  let shownAt = Date.now()
  let asking = false
  const show = (text) => {
    const page = new DOMParser().parseFromString(text, 'text/html')
    const next = page.getElementById('live')
    if (next === null) throw new Error('no page')
    const focused = document.activeElement?.id
    const scrolled = new Map([...document.querySelectorAll('.scroll')].map((each) => [each.ariaLabel, each.scrollLeft]))
    at('live').replaceWith(next)
    for (const each of document.querySelectorAll('.scroll')) each.scrollLeft = scrolled.get(each.ariaLabel) ?? 0
    if (focused) at(focused)?.focus({ preventScroll: true })
    document.title = page.title
    at('icon').href = page.getElementById('icon').href
    const verdict = at('verdict').textContent
    if (at('spoken').textContent !== verdict) at('spoken').textContent = verdict
    shownAt = Date.now()
  }
  const refresh = async () => {
    if (asking || document.hidden) return
    asking = true
    try {
      const response = await fetch('/', { cache: 'no-store', signal: AbortSignal.timeout(10000) })
      if (!response.ok) throw new Error(String(response.status))
      show(await response.text())
    } catch {
      // What is shown is old; that is said below.
    }
    asking = false
    const age = Math.round((Date.now() - shownAt) / 1000)
    root.classList.toggle('stale', age > 15)
    at('stale').textContent = age > 15 ? 'This node does not answer: what is shown is ' + age + ' seconds old.' : ''
  }
  setInterval(refresh, EVERY_MS)
  document.addEventListener('visibilitychange', refresh)

  const QUESTION = {
    ban: 'Ban NETWORK for one hour?',
    lift: 'Lift the ban of NETWORK?',
    allow: 'Allow NETWORK for one hour, whatever checks, limits and bans say?',
    end: 'Allow NETWORK no more?',
  }
  const DONE = { ban: 'Banned: ', lift: 'Lifted: ', allow: 'Allowed: ', end: 'Allowed no more: ' }
  const adding = (path) => (network) => [path, { method: 'POST', body: JSON.stringify({ network, time: '1h', reason: 'status page' }) }]
  const removing = (path) => (network) => [path + '/' + encodeURIComponent(network), { method: 'DELETE' }]
  const REQUEST = {
    ban: adding('/api/v1/bans'),
    lift: removing('/api/v1/bans'),
    allow: adding('/api/v1/allow'),
    end: removing('/api/v1/allow'),
  }
  const act = async (what, network) => {
    if (!confirm(QUESTION[what].replace('NETWORK', network))) return
    const token = sessionStorage.getItem(KEY)
    const [path, request] = REQUEST[what](network)
    try {
      const response = await fetch(path, { ...request, ...(token ? { headers: { Authorization: 'Bearer ' + token } } : {}) })
      if (response.status === 401) {
        say('The token is missing or wrong: type SPILLWAY_ADMIN_TOKEN above, and try again.')
        at('token').focus()
        return
      }
      say(response.ok ? DONE[what] + network : await response.text())
    } catch {
      say('The node did not answer; whether it was done is not known.')
    }
    await refresh()
  }
  document.addEventListener('submit', (event) => {
    const form = event.target
    if (form.id === 'ask') return
    event.preventDefault()
    if (form.id === 'operator') {
      const token = at('token').value
      at('token').value = ''
      if (token) sessionStorage.setItem(KEY, token)
      else sessionStorage.removeItem(KEY)
      say(token ? 'The token is kept until this tab is closed.' : 'The token is forgotten.')
      return
    }
    void act(form.dataset.act, form.dataset.network)
  })
})()
`
