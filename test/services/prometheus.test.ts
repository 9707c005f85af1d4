import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from '@jest/globals'
import { alive } from './processes.ts'
import { promtool, startPrometheus } from './prometheus.ts'

test('a real Prometheus scrapes, answers, says what is wrong with a query, and leaves nothing behind', async () => {
  let scrapes = 0
  const target = createServer((_, response) => {
    response.setHeader('Content-Type', 'text/plain').end(`scrapes_total ${++scrapes}\nodd NaN\n`)
  })
  await new Promise<void>((resolve) => target.listen(0, '127.0.0.1', resolve))
  const address = `127.0.0.1:${(target.address() as AddressInfo).port}`
  const prometheus = await startPrometheus({ jobs: { fake: [address] }, intervalMs: 100 })
  const pids = prometheus.pids()
  try {
    await prometheus.waitForScrapes()
    const [series] = await prometheus.query('scrapes_total')
    expect(series?.labels).toEqual({ __name__: 'scrapes_total', instance: address, job: 'fake' })
    expect(series?.values[0]?.[1]).toBeGreaterThanOrEqual(1)
    expect((await prometheus.query('odd'))[0]?.values[0]?.[1]).toBeNaN()
    const now = Date.now() / 1000
    const [ranged] = await prometheus.queryRange('up', now - 1, now, 0.1)
    expect(ranged?.values.length).toBeGreaterThan(0)
    await expect(prometheus.query('sum(')).rejects.toThrow(/parse error/)
  } finally {
    await prometheus.stop()
    target.closeAllConnections()
    await new Promise((resolve) => target.close(resolve))
  }
  expect(pids.length).toBeGreaterThan(0)
  expect(pids.filter(alive)).toEqual([])
})

test('a Prometheus that cannot start says why', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'rules-'))
  try {
    const rules = join(directory, 'rules.yml')
    writeFileSync(rules, 'groups: [{ name: wrong, rules: [{ record: x, expr: "sum(" }] }]')
    await expect(startPrometheus({ jobs: {}, rules: [rules] })).rejects.toThrow(/could not parse expression/)
  } finally {
    rmSync(directory, { recursive: true })
  }
})

test('promtool hears what it is given', () => {
  expect(promtool(['check', 'metrics'], 'wrong_total 1\n')).toEqual({
    code: 3,
    output: expect.stringContaining('wrong_total'),
  })
})
