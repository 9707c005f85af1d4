/** The status page in a real browser, of a real node that hostile clients talk to. */

import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { type AddressInfo, connect, createServer } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import type { Browser, BrowserContextOptions, Page } from 'playwright-core'
import { explainPage } from '../../src/admin/page/explain-page.ts'
import { escaped, html } from '../../src/admin/page/html.ts'
import type { Request } from '../../src/admin/request.ts'
import { startChromium } from '../services/chromium.ts'
import { BALANCER, eventually, startApp, type TestApp } from '../support/app.ts'
import { run, SERVE_ENV } from '../support/program.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'
import { ask } from './http-client.ts'

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const TOKEN = 'a-token-of-the-operator'
const HOSTILE = [
  '<script>document.title="pwned"</script>',
  '"><img/src=x/onerror=document.title="pwned">',
  "'-alert(1)-'",
  '</title></style></table><h1>',
  '&lt;b&gt;',
  '\u202egnp.exe',
]

let upstream: Upstream
let app: TestApp
let browser: Browser
const pages: Page[] = []

beforeAll(async () => {
  upstream = await startUpstream()
  const settings = { PROXY_PROTOCOL_FROM: BALANCER, ADMIN_TOKEN: TOKEN, OBSERVE: 'ip-connections' }
  app = await startApp(`${upstream.address},127.0.0.1:1`, settings)
  browser = await startChromium()
  for (const [i, name] of HOSTILE.entries()) await visit(`203.0.113.${i + 1}`, name)
  await visit('2001:db8:7::1', 'mx.example')
}, 60_000)
afterAll(async () => {
  await browser?.close()
  await app?.stop()
  await upstream?.stop()
})

async function visit(ip: string, helo: string): Promise<void> {
  const client = await app.clientAs(ip)
  await client.reply()
  client.write(Buffer.from(`EHLO ${helo}\r\n`, 'utf8').toString('latin1'))
  await client.reply()
  await client.command('MAIL FROM:<a@b.example>')
  await client.command(`RCPT TO:<x@${helo}>`)
  client.destroy()
}

/** What the page said that it should not: errors, violations of its policy, dialogs. */
const complaints: string[] = []

async function opened(options: BrowserContextOptions = {}, path = '/'): Promise<Page> {
  const page = await (await browser.newContext(options)).newPage()
  pages.push(page)
  page.on('pageerror', (error) => complaints.push(String(error)))
  page.on('console', (message) => {
    if (message.type() === 'error' && !message.text().includes('401')) complaints.push(message.text())
  })
  await page.goto(`http://127.0.0.1:${app.adminPort}${path}`)
  return page
}

/** What axe-core finds, from serious upwards, and how much wider the page is than the window. */
async function faultsOf(page: Page): Promise<unknown> {
  const violations = (await page.evaluate(
    `${AXE}; axe.run().then(({ violations }) => violations.map(({ id, impact, nodes }) => ({ id, impact, at: nodes.map(({ html }) => html.slice(0, 200)) })))`,
  )) as { id: string; impact: string }[]
  const serious = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical')
  return { serious, tooWide: await page.evaluate('document.documentElement.scrollWidth - innerWidth') }
}
const NO_FAULTS = { serious: [], tooWide: 0 }

const textIn = async (page: Page, part: string): Promise<string> => (await page.locator(part).textContent()) ?? ''
const textOf = (page: Page): Promise<string> => textIn(page, 'main')

test('names that clients choose are shown, and do nothing', async () => {
  const page = await opened()
  const text = await eventually(
    () => textOf(page),
    (shown) => shown.includes('mx.example'),
  )
  for (const name of HOSTILE.slice(0, 5)) expect(text).toContain(name)
  expect(text).not.toContain('\u202e')
  expect(await page.title()).toBe('warn: mx.test.example, Spillway')
  expect(await page.locator('main img, main script, main h1').count()).toBe(0)
  expect(await page.locator('script').count()).toBe(1)
  expect(complaints).toEqual([])
}, 60_000)

describe('nothing that axe-core calls serious', () => {
  const LOOKS: [string, BrowserContextOptions][] = [
    ['in dark', { colorScheme: 'dark' }],
    ['in light', { colorScheme: 'light' }],
    ['on a phone', { viewport: { width: 390, height: 844 }, colorScheme: 'light' }],
  ]
  test.each(LOOKS)(
    '%s',
    async (_, options) => {
      expect(await faultsOf(await opened(options))).toEqual(NO_FAULTS)
      expect(await faultsOf(await opened(options, '/explain?q=203.0.113.1'))).toEqual(NO_FAULTS)
    },
    60_000,
  )
})

test('a ban needs the token once, and is lifted with it; the page follows by itself', async () => {
  const page = await opened()
  const asked: string[] = []
  page.on('dialog', (dialog) => {
    asked.push(dialog.message())
    void dialog.accept()
  })
  const said = (fits: (text: string) => boolean) => eventually(() => textIn(page, '#said'), fits)
  await page.getByRole('button', { name: 'Ban 1 h 203.0.113.0/24' }).click()
  await said((text) => text.includes('token is missing or wrong'))
  // The focus is there already, and the keyboard is enough.
  await page.keyboard.type(TOKEN)
  await page.keyboard.press('Enter')
  await said((text) => text.includes('kept until'))
  await page.getByRole('button', { name: 'Ban 1 h 203.0.113.0/24' }).press('Enter')
  await said((text) => text === 'Banned: 203.0.113.0/24')
  await page.getByRole('button', { name: 'Lift 203.0.113.0/24' }).click()
  await said((text) => text === 'Lifted: 203.0.113.0/24')
  await eventually(
    () => textOf(page),
    (text) => text.includes('Nobody is banned'),
  )
  await page.getByRole('button', { name: 'Allow 1 h 203.0.113.0/24' }).click()
  await said((text) => text === 'Allowed: 203.0.113.0/24')
  const allowed = JSON.parse((await ask(app.adminPort, 'GET /api/v1/allow HTTP/1.1\r\nHost: localhost\r\n\r\n')).body)
  expect(allowed.allowed).toMatchObject([{ network: '203.0.113.0/24', by: 'operator', reason: 'status page' }])
  await page.getByRole('button', { name: 'End 203.0.113.0/24' }).click()
  await said((text) => text === 'Allowed no more: 203.0.113.0/24')
  expect(asked).toEqual([
    'Ban 203.0.113.0/24 for one hour?',
    'Ban 203.0.113.0/24 for one hour?',
    'Lift the ban of 203.0.113.0/24?',
    'Allow 203.0.113.0/24 for one hour, whatever checks, limits and bans say?',
    'Allow 203.0.113.0/24 no more?',
  ])
  await visit('198.51.100.1', 'newcomer.example')
  await eventually(
    () => textOf(page),
    (text) => text.includes('newcomer.example'),
  )
  expect(complaints).toEqual([])
}, 90_000)

test('without JavaScript it reads the same, refreshes itself, and offers nothing that it cannot do', async () => {
  const page = await opened({ javaScriptEnabled: false })
  expect(await textOf(page)).toContain('127.0.0.1:1 is not up')
  expect(await page.getByRole('button').count()).toBe(0)
  await visit('198.51.100.2', 'later.example')
  await eventually(
    () => textOf(page),
    (text) => text.includes('later.example'),
  )
}, 60_000)

describe('an explanation as a page', () => {
  const asking = (q: string): string => `/explain?q=${encodeURIComponent(q)}`

  test('it says what the command says, in the same words, and what clients have said does nothing', async () => {
    const page = await opened({ javaScriptEnabled: false }, asking('203.0.113.1'))
    const env = { ...SERVE_ENV, SPILLWAY_ADMIN_LISTEN: `127.0.0.1:${app.adminPort}`, SPILLWAY_ADMIN_TOKEN: TOKEN }
    const { code, output } = await run(['explain', '203.0.113.1'], { env })
    expect(code).toBe(0)
    const shown = await textOf(page)
    const [verdict = '', ...rest] = output.split('\n').filter((line) => !line.startsWith('limit '))
    expect(await textIn(page, '#verdict')).toBe(`Now: let in${verdict}`)
    const facts = rest.flatMap((line) => (/^[a-zA-Z ]{9} /.test(line) ? [line.slice(10)] : []))
    expect(facts).toContain('new: nothing is known of it that counts')
    for (const words of facts) expect(shown).toContain(words)
    expect(shown).toContain(`HELO ${HOSTILE[0]}`)
    expect(shown).toContain('SPILLWAY_LIMIT_IP_CONNECTIONS')
    expect(await page.locator('main img, script, main h1').count()).toBe(0)
    expect(await page.title()).toBe('203.0.113.1, explained, Spillway')
    // From its id, and on to its address.
    await page.locator('td.key, tbody th').getByRole('link').first().click()
    await page.getByRole('link', { name: '203.0.113.1' }).first().click()
    expect(await page.title()).toBe('203.0.113.1, explained, Spillway')
    expect(complaints).toEqual([])
  }, 90_000)

  test('one asks on the status page too, through a tunnel as well; what is nothing is said to be so', async () => {
    const tunnel = createServer((from) => {
      const to = connect(app.adminPort, '127.0.0.1')
      from.pipe(to).pipe(from)
      for (const end of [from, to]) end.on('error', () => undefined)
    }).listen(0, '127.0.0.1')
    await once(tunnel, 'listening')
    const { port } = tunnel.address() as AddressInfo
    const page = await opened()
    await page.goto(`http://localhost:${port}/`)
    await page.getByLabel('Explain an address').fill('mail.example <b>')
    await page.keyboard.press('Enter')
    await page.waitForURL(`http://localhost:${port}/explain?q=mail.example+%3Cb%3E`)
    const field = page.getByLabel('Explain an address')
    expect(await field.getAttribute('aria-invalid')).toBe('true')
    expect(await field.inputValue()).toBe('mail.example <b>')
    expect(await page.getByRole('alert').textContent()).toMatch(/^That cannot be explained: .*address/)
    expect(await faultsOf(page)).toEqual(NO_FAULTS)
    await field.fill('  anna+spam@b.example ')
    await page.getByRole('button', { name: 'Explain' }).click()
    expect(await page.title()).toBe('anna+spam@b.example, explained, Spillway')
    tunnel.close()
    expect(complaints.filter((each) => !each.includes('400'))).toEqual([])
    complaints.length = 0
  }, 60_000)

  test('very many nodes, each with names and words of somebody who writes to Redis, are a page that can be read', async () => {
    const told = JSON.parse(
      (await ask(app.adminPort, 'GET /api/v1/explain?q=203.0.113.1 HTTP/1.1\r\nHost: localhost\r\n\r\n')).body,
    )
    const [here] = told.nodes
    const others = Array.from({ length: 127 }, (_, i) => ({
      ...here,
      here: false,
      node: `${HOSTILE[i % 5]} ${i}`,
      verdict: HOSTILE[1],
    }))
    const silent = { node: HOSTILE[0], answered: false, here: false, note: `it ${HOSTILE[3]} did not answer` }
    const many = { ...told, differences: HOSTILE, nodes: [here, ...others, silent] }
    const request = { query: new URLSearchParams({ q: '203.0.113.1' }), isLed: false } as unknown as Request
    const { body } = await explainPage(request, () => many)
    expect(body.length).toBeLessThan(200_000)
    const page = await opened({}, '/explain')
    await page.setContent(String(body))
    expect(await page.locator('main img, script, main h1').count()).toBe(0)
    expect(await page.locator('.silent').textContent()).toBe(`${HOSTILE[0]}: it ${HOSTILE[3]} did not answer.`)
    expect(await page.locator('summary').count()).toBe(20)
    expect(await page.getByText(`${HOSTILE[126 % 5]} 126`).count()).toBe(1)
    await page.locator('summary').first().press('Enter')
    expect(await page.getByRole('region', { name: `Limits at ${HOSTILE[0]} 0` }).isVisible()).toBe(true)
    expect(await faultsOf(page)).toEqual(NO_FAULTS)
    expect(complaints).toEqual([])
  }, 60_000)

  test('a page of another site may link to it; led here by itself, a browser asks nothing', async () => {
    const at = `http://127.0.0.1:${app.adminPort}`
    const other = createServer((socket) => {
      socket
        .on('error', () => undefined)
        .once('data', (head: Buffer) => {
          const leads = head.includes('GET /leads')
          const body = leads
            ? `<script>location = '${at}${asking('192.0.2.1')}'</script>`
            : `<a href="${at}${asking('192.0.2.1')}">one</a><a href="${at}/api/v1/status">two</a>`
          socket.end(`HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n${body}`)
        })
    }).listen(0, '127.0.0.1')
    await once(other, 'listening')
    const site = `http://localhost:${(other.address() as AddressInfo).port}`
    const page = await opened()
    await page.goto(`${site}/links`)
    await page.getByRole('link', { name: 'one' }).click()
    await page.waitForURL(`${at}/explain?q=192.0.2.1`)
    expect(await page.title()).toBe('192.0.2.1, explained, Spillway')
    await page.goto(`${site}/leads`)
    await page.waitForURL(`${at}/explain?q=192.0.2.1`)
    expect(await page.getByRole('status').textContent()).toMatch(/^Another page has led here/)
    expect(await page.locator('#verdict').count()).toBe(0)
    await page.getByRole('button', { name: 'Explain' }).click()
    await page.locator('#verdict').waitFor()
    other.close()
    expect(complaints).toEqual([])
  }, 60_000)
})

describe('who may have it', () => {
  const basic = (password: string): string =>
    `Authorization: Basic ${Buffer.from(`me:${password}`).toString('base64')}\r\n`
  const get = (path: string, fields = ''): string => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n${fields}\r\n`
  const ban = (fields: string): string => {
    const body = '{"network":"192.0.2.7"}'
    return `POST /api/v1/bans HTTP/1.1\r\nHost: localhost:9025\r\n${fields}Content-Length: ${body.length}\r\n\r\n${body}`
  }
  const bearer = `Authorization: Bearer ${TOKEN}\r\n`

  test('its policy lets a browser run and load nothing but what is ours', async () => {
    const { head } = await ask(app.adminPort, get('/'))
    expect(head).toMatch(
      /Content-Security-Policy: default-src 'none'; style-src 'sha256-[^ ]+'; script-src 'sha256-[^ ]+'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'\r\n/,
    )
  })

  test.each([
    ['from our own page with the token', 200, `Origin: http://localhost:9025\r\n${bearer}`],
    ['from our own page behind TLS', 200, `Origin: https://localhost:9025\r\n${bearer}`],
    ['from our own page without the token', 401, 'Origin: http://localhost:9025\r\n'],
    ['with what a browser sends by itself', 401, `Origin: http://localhost:9025\r\n${basic(TOKEN)}`],
    ['from another port', 403, `Origin: http://localhost:9026\r\n${bearer}`],
    ['from another site', 403, `Origin: http://evil.example\r\n${bearer}`],
    ['from a page without an origin', 403, `Origin: null\r\n${bearer}`],
  ])('a ban %s: %i', async (_, status, fields) => {
    expect((await ask(app.adminPort, ban(fields))).status).toBe(status)
  })

  test('what a browser sends by itself opens nothing to pages of other sites', async () => {
    for (const site of ['cross-site', 'same-site']) {
      const other = `Sec-Fetch-Site: ${site}\r\nSec-Fetch-Dest: image\r\n`
      for (const path of ['/', '/explain?q=192.0.2.1', '/api/v1/explain?q=192.0.2.1', '/api/v1/status'])
        expect((await ask(app.adminPort, get(path, other + basic(TOKEN)))).status).toBe(403)
      for (const path of ['/metrics', '/livez']) expect((await ask(app.adminPort, get(path, other))).status).toBe(200)
    }
    const led = 'Sec-Fetch-Site: cross-site\r\nSec-Fetch-Dest: document\r\n'
    for (const [fields, status] of [
      [led, 403],
      [`${led}Sec-Fetch-User: ?1\r\nSec-Purpose: prefetch\r\n`, 403],
      [`${led}Sec-Fetch-User: ?1\r\n`, 200],
    ] as const)
      for (const path of ['/api/v1/explain?q=192.0.2.1', '/api/v1/status'])
        expect((await ask(app.adminPort, get(path, fields))).status).toBe(status)
    expect((await ask(app.adminPort, get('/', led))).status).toBe(200)
    const own = 'Sec-Fetch-Site: same-origin\r\nSec-Fetch-Dest: empty\r\n'
    expect((await ask(app.adminPort, get('/', own + basic(TOKEN)))).status).not.toBe(403)
  })
})

test('every character that could end an element or an attribute, or is not seen, is escaped', () => {
  expect(escaped(`<a b='"'>&\u0000\u200f\u2028`)).toBe('&lt;a b=&#39;&quot;&#39;&gt;&amp;\ufffd\ufffd\ufffd')
  expect(html`<b>${'<'}${html`<i>${['>', 1, undefined]}</i>`}</b>`.text).toBe('<b>&lt;<i>&gt;1</i></b>')
})
