/** `spillway top`: the table fits its room whatever clients call themselves, and is shown anew on a terminal until it is ended. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import type { TopReport } from '../../src/admin/top.ts'
import type { Screen } from '../../src/cli/top/screen.ts'
import { tableOf } from '../../src/cli/top/table.ts'
import { top } from '../../src/cli/top/top.ts'
import { load } from '../../src/config/load.ts'
import { BALANCER, eventually, startApp, type TestApp, testSources } from '../support/app.ts'
import { run, SERVE_ENV } from '../support/program.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const HOSTILE = '\u001b]0;pwned\u0007\u202e\u4e2d.example'
const report: TopReport = {
  by: 'helo',
  rows: [
    { key: 'mx.example', perMinute: 1234.5, turnedAway: 0 },
    { key: HOSTILE, perMinute: 9.96, turnedAway: 1 },
    { key: 'x'.repeat(255), perMinute: 0.25, turnedAway: 0.5 },
    { key: '', perMinute: 0.1, turnedAway: 0.5 },
  ],
}

describe('the table', () => {
  test('has nothing in it that a terminal obeys', () => {
    const text = tableOf(report, { columns: 200 }).join('\n')
    expect(text).toMatch(/^[ -~\n…]+$/)
    expect(text).toContain('\\u001b]0;pwned\\u0007\\u202e\\u4e2d.example')
  })

  test.each([20, 40, 80, 200, Number.POSITIVE_INFINITY])('fits %d columns, with its figures in line', (columns) => {
    const lines = tableOf(report, { columns })
    const lengths = new Set(lines.map(({ length }) => length))
    expect(lengths.size).toBe(1)
    expect(Math.max(...lengths)).toBeLessThanOrEqual(columns)
    if (columns >= 40) for (const figure of ['1235', '100 %', '0.3', 'A MINUTE']) expect(lines.join()).toContain(figure)
  })

  test('fits the rows, and says where there is nothing', () => {
    expect(tableOf(report, { columns: 80, rows: 3 })).toHaveLength(3)
    expect(tableOf({ by: 'network', rows: [] }, { columns: 80 })).toEqual(['Nothing in the last minutes.'])
  })

  test('of reasons tells those that are only observed', () => {
    const rows = [{ reason: 'pregreet', mode: 'observe', lastMinute: 2, lastHour: 40 }] as const
    expect(tableOf({ by: 'reason', rows }, { columns: 80 })[1]).toMatch(/^pregreet \(observed\) +2 +40$/)
  })
})

describe('of a node', () => {
  let upstream: Upstream
  let app: TestApp
  const loaded = () => load(testSources('127.0.0.1:1', { ADMIN_LISTEN: `127.0.0.1:${app.adminPort}` }))

  beforeAll(async () => {
    upstream = await startUpstream()
    app = await startApp(upstream.address, { PROXY_PROTOCOL_FROM: BALANCER })
    const client = await app.clientAs('203.0.113.9')
    await client.reply()
    await client.command('EHLO flood.example')
    client.destroy()
    await eventually(
      async () => (await app.get('/api/v1/top?by=helo')).body,
      (body) => body.includes('flood.example'),
    )
  })
  afterAll(async () => {
    await app.stop()
    await upstream.stop()
  })

  test('on a pipe: one table, or JSON, and what is wrong with the command line', async () => {
    const env = { ...SERVE_ENV, SPILLWAY_ADMIN_LISTEN: `127.0.0.1:${app.adminPort}` }
    const told = await run(['top'], { env })
    expect(told).toEqual({ code: 0, output: expect.stringMatching(/^NETWORK +A MINUTE.*\n203\.0\.113\.0\/24 /) })
    expect(told.output).not.toContain('\u001b')
    const json = await run(['top', '--by', 'helo', '--json'], { env })
    expect(JSON.parse(json.output)).toMatchObject({ by: 'helo', rows: [{ key: 'flood.example' }] })
    expect((await run(['top', '--by', 'planet'], { env })).output).toContain('one of network, helo, domain, reason')
  })

  /** A terminal whose user ends it after so many tables. */
  function screenOf(tables: number): Screen & { readonly painted: (readonly string[])[]; left: boolean } {
    const painted: (readonly string[])[] = []
    const waits: number[] = []
    return {
      painted,
      left: false,
      isTerminal: true,
      size: () => ({ columns: 60, rows: 10 }),
      paint: (lines) => void painted.push(lines),
      wait: async (ms) => {
        waits.push(ms)
        expect(ms).toBe(2000)
        return waits.length < tables
      },
      leave() {
        this.left = true
      },
    }
  }

  test('on a terminal it is asked again until the user ends it; the last table stays', async () => {
    const screen = screenOf(3)
    const { code, output } = await top(loaded(), { json: false, once: false, by: 'helo' }, screen)
    expect(screen.painted.map(([title]) => title)).toEqual(
      Array(3).fill('Most often by helo, in the last minutes. Ctrl-C ends.'),
    )
    expect([code, screen.left]).toEqual([0, true])
    expect(output).toMatch(/^NAME IN HELO .*\nflood\.example /)
  })

  test('--once, and what cannot be asked, is told without painting', async () => {
    const screen = screenOf(3)
    expect((await top(loaded(), { json: false, once: true }, screen)).output).toContain('203.0.113.0/24')
    const nobody = load(testSources('127.0.0.1:1', { ADMIN_LISTEN: '127.0.0.1:1' }))
    expect(await top(nobody, { json: false, once: false }, screen)).toMatchObject({ code: 1 })
    expect(screen.painted).toEqual([])
  })
})
