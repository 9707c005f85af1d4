/** The dashboard as far as it can be judged without Grafana: up to date, whole, laid out, and of metrics that exist. */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from '@jest/globals'
import { dashboardJson } from '../../deploy/grafana/dashboard.ts'
import { REASON_NAMES } from '../../src/core/reasons.ts'
import { createMetrics } from '../../src/telemetry/metrics.ts'
import { DASHBOARD, type Panel, panels, queries } from './panels.ts'

const drawn = panels.filter(({ type }) => type !== 'row')

/** Every series a scrape can show, by name. */
async function names(): Promise<Set<string>> {
  const metrics = createMetrics({ version: 'x', upstreams: ['host:port'] })
  const { registry, certificateExpiry, settingsInfo } = metrics
  metrics.setDnsblZones(['bl.example'])
  certificateExpiry.replace([[['mx1.example.net'], 0]])
  settingsInfo.replace([[['0123456789ab'], 1]])
  const text = await registry.metrics()
  return new Set([...text.matchAll(/^([a-z]\w*)[ {]/gm)].map(([, name]) => name as string))
}

test('spillway.json is what dashboard.ts says (npm run dashboards)', () => {
  expect(readFileSync(DASHBOARD, 'utf8')).toBe(dashboardJson())
})

describe('every panel', () => {
  test('has a number of its own', () => {
    expect(panels.length).toBeGreaterThan(30)
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length)
    for (const { id } of panels) expect(id).toBeGreaterThan(0)
  })

  test('has a place of its own within the width of 24', () => {
    const taken = new Map<string, number>()
    for (const { id, gridPos } of panels) {
      expect(gridPos.x + gridPos.w).toBeLessThanOrEqual(24)
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          expect({ x, y, id: taken.get(`${x} ${y}`) ?? id }).toEqual({ x, y, id })
          taken.set(`${x} ${y}`, id)
        }
      }
    }
  })

  test('that shows figures has a title, a description, a unit and named queries with letters', () => {
    for (const panel of drawn.filter(({ type }) => type !== 'text')) {
      const { title, description, fieldConfig, targets = [] } = panel
      expect({ title, described: (description ?? '').length > 20 }).toEqual({ title, described: true })
      expect(fieldConfig?.defaults.unit).toMatch(/^(short|cps|percentunit|s|bytes)$/)
      expect(targets.map(({ refId }) => refId)).toEqual(['A', 'B', 'C'].slice(0, Math.max(targets.length, 1)))
      for (const { legendFormat } of targets) expect(legendFormat).toMatch(/\S/)
    }
  })

  test('that draws lines shows its legend', () => {
    for (const { type, options } of drawn.filter((panel) => panel.type === 'timeseries')) {
      expect({ type, shown: options?.legend?.showLegend }).toEqual({ type, shown: true })
    }
  })
})

describe('every query', () => {
  test('asks for metrics that are there', async () => {
    const known = await names()
    const asked = new Set(queries.flatMap(({ expr }) => expr.match(/\b(?:spillway|process|nodejs)_\w+/g) ?? []))
    expect(asked.size).toBeGreaterThan(25)
    expect([...asked].filter((name) => !known.has(name))).toEqual([])
  })

  test('is of the chosen nodes, through the chosen datasource', () => {
    for (const { expr, datasource } of queries) {
      const series = expr.match(/\b(?:spillway|process|nodejs)_\w+/g) ?? []
      const chosen = expr.match(/\{instance=~"\$instance"/g) ?? []
      expect({ expr, chosen: chosen.length }).toEqual({ expr, chosen: series.length })
      // biome-ignore lint/suspicious/noTemplateCurlyInString: Grafana's own way to write a variable
      expect(datasource?.uid).toBe('${datasource}')
    }
  })

  test('names reasons that are in the table', () => {
    const named = queries.flatMap(({ expr }) =>
      [...expr.matchAll(/reason=~"([^"]+)"/g)].flatMap(([, all]) => all!.split('|')),
    )
    expect(named.length).toBeGreaterThan(5)
    for (const name of named) expect(REASON_NAMES).toContain(name)
  })
})

test('one can choose the datasource and any number of nodes, and new nodes are seen', () => {
  const { templating } = JSON.parse(dashboardJson()) as { templating: { list: Record<string, unknown>[] } }
  expect(templating.list).toMatchObject([
    { name: 'datasource', type: 'datasource', query: 'prometheus' },
    { name: 'instance', type: 'query', multi: true, includeAll: true, allValue: '.+', refresh: 2 },
  ])
})

test('every reason is told in words, on the dashboard itself', () => {
  const told = drawn.filter(({ type }) => type === 'text').map((panel: Panel) => panel.options?.content ?? '')
  for (const name of REASON_NAMES) expect(told.join('\n')).toContain(`| ${name} |`)
})
