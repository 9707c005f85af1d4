import { describe, expect, test } from '@jest/globals'
import { clip, fold, introduction, printable, render, report, type ScreenState } from '../../src/cli/demo/screen.ts'
import { demoSettings, ignored, meaningOf } from '../../src/cli/demo/settings.ts'
import { Terminal } from '../../src/cli/demo/terminal.ts'
import type { Level } from '../../src/core/overload.ts'
import { REASON_NAMES } from '../../src/core/reasons.ts'

const { settings } = demoSettings({
  mail: 2525,
  admin: 9025,
  mailServer: 2526,
  names: 5353,
  history: '/tmp/spillway-demo-AbCdEf/history',
})
const flow = (total: number, perSecond = 0) => ({ total, perSecond })

const STATE: ScreenState = {
  version: '1.2.3',
  uptimeMs: 3_723_000,
  mail: '127.0.0.1:2525',
  admin: '127.0.0.1:9025',
  logFile: '/tmp/spillway-demo-AbCdEf/spillway.log',
  logStays: false,
  ignored: [],
  figures: {
    connections: flow(1_234_567, 187.4),
    open: 12,
    relayed: flow(493, 3.14),
    refusedBehind: flow(139, 17),
    refused: flow(1_000_000, 136),
    left: flow(7, 0),
    why: REASON_NAMES.map((reason, i) => ({ reason, meaning: meaningOf(reason, settings), ...flow(1000 - i, 30 - i) })),
    upstream: { up: true, connections: 4 },
    overload: {
      ...{
        level: 3,
        since: '2026-11-21T21:00:00.000Z',
        mode: 'auto',
        setting: 'auto',
        signal: 'upstream_slots',
        pressure: 1.26,
      },
      signals: {
        upstream_slots: 1.26,
        reported_queue: 0,
        upstream_latency: 0.1,
        connections: 0.2,
        event_loop: 0,
        memory: 0.1,
        global_limits: 0,
      },
      latencyTargetSeconds: 5,
      admission: { trusted: 1, known: 1, seen: 1, new: 0.05, suspect: 0, banned: 0 },
    },
  },
  honest: {
    sent: 91,
    accepted: 90,
    arrived: 90,
    twice: 0,
    putOff: 5,
    cameBack: 4,
    waiting: 1,
    lost: 0,
    known: { atOnce: 79, putOff: 0 },
    newcomers: { atOnce: 6, putOff: 5 },
    p50Ms: 110,
    p99Ms: 290,
  },
  deliveries: Array.from({ length: 10 }, (_, i) => ({
    from: 'office@bakery.example',
    to: ['alice@example.test'],
    client: `127.1.${i}.25`,
    name: 'mx.bakery.example',
  })),
}
const text = (state: ScreenState, columns: number, rows: number): string => render(state, { columns, rows }).join('\n')

describe('printable', () => {
  test.each([
    ['plain@example.org', 'plain@example.org'],
    ['a\x1b[2Jb', 'a?[2Jb'],
    ['a\r\nb\tc\x7f', 'a??b?c?'],
    ['\x9b31m', '?31m'],
    ['a\u202eb', 'a?b'],
    ['\u{1f600}é漢', '???'],
  ])('%j', (given, shown) => {
    expect(printable(given)).toBe(shown)
  })
})

test('clip says that something is missing, and never exceeds the width', () => {
  expect(clip('abcdef', 6)).toBe('abcdef')
  expect(clip('abcdefg', 6)).toBe('abcde…')
})

describe('fold', () => {
  test.each([
    ['a b c', 5, 0, ['a b c']],
    ['aa bb cc', 5, 0, ['aa bb', 'cc']],
    ['aa bb cc', 5, 2, ['aa bb', '  cc']],
    ['HEAD  aa bb cc dd', 11, 6, ['HEAD  aa bb', '     cc dd']],
    ['aaaaaaaa', 5, 2, ['aaaaa', '  aaa']],
    ['aa  bb', 3, 0, ['aa', 'bb']],
  ])('%j in %d columns, hanging by %d', (line, columns, hang, lines) => {
    expect(fold(line, columns, hang)).toEqual(lines)
  })
})

describe('render', () => {
  test.each([
    [80, 23],
    [120, 39],
    [200, 100],
    [40, 10],
  ])('fits %d columns and %d rows, and 40 rows in any case', (columns, rows) => {
    const lines = render({ ...STATE, ignored: ['SPILLWAY_LISTEN'] }, { columns, rows })
    expect(lines.length).toBeLessThanOrEqual(Math.min(rows, 40))
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(columns)
  })

  test('shows everything an 80x24 terminal has to show', () => {
    const shown = text(STATE, 80, 23)
    for (const part of [
      'SPILLWAY 1.2.3 demo · 1:02:03 · 127.0.0.1:2525 · mail server up, 4 connections',
      'keeps mail in memory only',
      'COMING IN       187/s  1,234,567  connections, 12 open now',
      'RELAYED         3.1/s       493  messages',
      'TURNED AWAY     136/s  1,000,000  refusals',
      'the address is on the deny list (127.99.0.0/16, default none)',
      'the address connects more often than 30/1m (default 600/1m)',
      'HONEST MAIL   91 sent, 90 accepted (each arrived once), 1 waiting, 0 lost',
      '5 put off by 4xx, 4 of them came back; took 0.11 s (p99 0.29 s)',
      'at the first try: known senders 100 % of 79, new ones 54 % of 11',
      'OVERLOAD      level 3: nearly all strangers are put off (upstream_slots 1.3)',
      '127.1.0.25       office@bakery.example    → alice@example.test',
      'swaks --server 127.0.0.1:2525 --from me@example.org --to alice@example.test',
      'echo hello | curl -T - smtp://127.0.0.1:2525 \\\n    --mail-from me@example.org --mail-rcpt alice@example.test',
      'curl http://127.0.0.1:9025/metrics',
      '/tmp/spillway-demo-AbCdEf/spillway.log',
      'Ctrl-C',
    ])
      expect(shown).toContain(part)
  })

  test('a level that stays while the pressure is gone is explained, also in a small terminal', () => {
    const { overload } = STATE.figures
    const calm = (pressure: number, level: Level) =>
      overload && { ...STATE, figures: { ...STATE.figures, overload: { ...overload, level, pressure } } }
    const shown = (state = STATE, columns = 80): string => text(state, columns, 23).replace(/\n */g, ' ')
    const words = 'level 4: no stranger gets in (upstream_slots 0.2; levels fall slowly: one for each 30 s below 1.2)'
    expect(shown(calm(0.2, 4))).toContain(words)
    expect(shown(calm(0.2, 4), 40)).toContain('levels fall slowly')
    expect(shown(calm(1.2, 4))).toContain('(upstream_slots 1.2)')
    expect(shown(calm(0, 0))).toContain('level 0: nobody is put off (upstream_slots 0.0)')
  })

  test('with more room: tags of reasons, names of senders, more of both', () => {
    const wide = text(STATE, 120, 39)
    expect(wide).toMatch(/net_connections .*its network \(\/24 or \/48\) connects more often than 90\/1m/)
    expect(wide).toContain('mx.bakery.example')
    expect(wide).toContain('WENT AWAY')
    expect(text(STATE, 80, 23)).not.toContain('net_connections')
  })

  test('what came off the wire cannot speak to the terminal', () => {
    const evil = { from: '\x1b]0;owned\x07', to: ['\x1b[31m@example.test'], client: '\x9b2J', name: '\u202eevil' }
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
    expect(text({ ...STATE, deliveries: [evil] }, 120, 39)).not.toMatch(/[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]/)
  })

  test('says it when mail is missing or doubled', () => {
    const honest = { ...STATE.honest, arrived: 88, twice: 3, lost: 2 }
    expect(text({ ...STATE, honest }, 80, 23)).toContain('90 accepted (88 arrived, 3 twice), 1 waiting, 2 lost')
  })

  test.each([80, 100, 120, 160])(
    'loses no word of what it has to say in %d columns, but of what came off the wire',
    (columns) => {
      const ours = { ...STATE, ignored: ['SPILLWAY_UPSTREAMS', 'SPILLWAY_LISTEN'], deliveries: [] }
      expect(text(ours, columns, 40)).not.toContain('…')
      const words = report(ours, columns).join(' ').split(/\s+/)
      for (const { meaning } of ours.figures.why) expect(words.join(' ')).toContain(meaning)
    },
  )

  test('says which of the user’s settings it does not use', () => {
    expect(text({ ...STATE, ignored: ['SPILLWAY_A', 'SPILLWAY_B', 'SPILLWAY_C'] }, 80, 23)).toContain(
      'Your own SPILLWAY_A and 2 more are not used',
    )
  })
})

test('a report names every reason with its tag', () => {
  const lines = report(STATE)
  for (const reason of REASON_NAMES) expect(lines.some((line) => line.startsWith(` ${reason} `))).toBe(true)
  for (const line of report(STATE, 80)) expect(line.length).toBeLessThanOrEqual(80)
  expect(report(STATE).filter((line) => line.length > 120).length).toBeGreaterThan(0)
})

test('says how to keep a log that will be deleted', () => {
  expect(introduction(STATE).join('\n')).toContain('spillway.log  (deleted at the end; --log PATH keeps it)')
  expect(introduction({ ...STATE, logStays: true }).join('\n')).not.toContain('--log')
})

test('in the meaning of every reason stand values, not names of settings', () => {
  for (const reason of REASON_NAMES) expect(meaningOf(reason, settings)).not.toMatch(/SPILLWAY_/)
})

test('ignored: only what would be settings', () => {
  expect(ignored({ SPILLWAY_LISTEN: '', PATH: '', MY_SPILLWAY_X: '', SPILLWAY_TYPO: 'x' })).toEqual([
    'SPILLWAY_LISTEN',
    'SPILLWAY_TYPO',
  ])
})

describe('terminal', () => {
  test('enters once, writes only lines that changed, and gives the screen back', () => {
    const out: string[] = []
    const terminal = new Terminal((each) => out.push(each), true)
    terminal.paint(['COMING IN  1', 'same', 'gone'])
    expect(out[0]).toContain('\x1b[?1049h')
    expect(out[0]).toContain('\x1b[1mCOMING IN\x1b[0m  1')
    terminal.paint(['COMING IN  2', 'same'])
    expect(out[1]).toBe('\x1b[1;1H\x1b[1mCOMING IN\x1b[0m  2\x1b[K\x1b[3;1H\x1b[K')
    terminal.paint(['COMING IN  2', 'same'])
    expect(out).toHaveLength(2)
    terminal.leave()
    terminal.leave()
    expect(out.slice(2)).toEqual(['\x1b[?25h\x1b[?1049l'])
  })

  test('without colours nothing is bold; after a resize all is painted again', () => {
    const out: string[] = []
    const terminal = new Terminal((each) => out.push(each), false)
    terminal.paint(['LOG /x'])
    terminal.resized()
    terminal.paint(['LOG /x'])
    expect(out.join('')).not.toContain('\x1b[1m')
    expect(out.at(-1)).toContain('LOG /x')
  })
})
